//! Tables and their changes: what a client asks for, and what it is told.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    faults::{Faults, check_columns, text_fault},
    filter::{decode_scalar, filter},
    index, schema,
};
use crate::{
    config::Limits,
    domain::{
        Error, Result, Scalar,
        table::{
            Assigned, Assignment, ColumnAlteration, NewColumns, OptimizeOptions, OptimizeStats,
            TableInfo, UpsertOptions, VersionInfo, VersionRef,
        },
    },
    proto::v1::{
        self as pb, add_columns_request::Source, assignment::To, restore_version_request::Target,
    },
};

/// Longest name of a column, a tag or an index, in bytes.
const MAX_NAME: usize = 1_024;

/// Whether an insert replaces the rows that are there. `mode` is the field of that
/// name.
pub fn overwrites(mode: i32) -> Result<bool> {
    match pb::InsertMode::try_from(mode) {
        Ok(pb::InsertMode::Unspecified | pb::InsertMode::Append) => Ok(false),
        Ok(pb::InsertMode::Overwrite) => Ok(true),
        Err(_) => Err(Error::invalid("mode", "is not a mode of this server")),
    }
}

/// The options of an upsert, and its rows for [`super::rows::decode_rows`].
pub fn upsert(
    request: pb::UpsertRequest,
    limits: &Limits,
) -> Result<(UpsertOptions, Option<pb::Rows>)> {
    let mut faults = Faults::default();
    faults.add_if(request.on.is_empty(), "on", "needs a column");
    check_columns(&request.on, "on", &mut faults);
    let mut condition = |wanted: Option<pb::Filter>, flag: bool, name: &str| {
        let field = format!("{name}_condition");
        let condition = faults.keep(filter(wanted, &field, limits)).flatten();
        faults.add_if(
            condition.is_some() && !flag,
            &field,
            &format!("needs {name}"),
        );
        condition
    };
    let update_all_condition = condition(
        request.when_matched_update_all_condition,
        request.when_matched_update_all,
        "when_matched_update_all",
    );
    let delete_condition = condition(
        request.when_not_matched_by_source_delete_condition,
        request.when_not_matched_by_source_delete,
        "when_not_matched_by_source_delete",
    );
    faults.finish()?;
    let nothing_set = !request.when_matched_update_all
        && !request.when_not_matched_insert_all
        && !request.when_not_matched_by_source_delete;
    let options = UpsertOptions {
        on: request.on,
        when_matched_update_all: request.when_matched_update_all || nothing_set,
        when_matched_update_all_condition: update_all_condition,
        when_not_matched_insert_all: request.when_not_matched_insert_all || nothing_set,
        when_not_matched_by_source_delete: request.when_not_matched_by_source_delete,
        when_not_matched_by_source_delete_condition: delete_condition,
        use_index: request.use_index.unwrap_or(true),
    };
    Ok((options, request.rows))
}

/// What an update sets, from its field `assignments`.
pub fn assignments(assignments: Vec<pb::Assignment>, limits: &Limits) -> Result<Vec<Assignment>> {
    let mut faults = Faults::default();
    faults.add_if(assignments.is_empty(), "assignments", "needs an assignment");
    let mut seen = HashSet::new();
    let mut found = Vec::with_capacity(assignments.len());
    for (i, assignment) in assignments.into_iter().enumerate() {
        let field = format!("assignments[{i}]");
        check_name(&assignment.column, &format!("{field}.column"), &mut faults);
        let again = !seen.insert(assignment.column.clone());
        faults.add_if(again, &format!("{field}.column"), "is there twice");
        let to = match assignment.to {
            None => Err(Error::invalid(&field, "needs an expression or a value")),
            Some(To::Expression(sql)) => match text_fault(&sql, limits.max_filter_bytes) {
                None => Ok(Assigned::Expression(sql)),
                Some(fault) => Err(Error::invalid(format!("{field}.expression"), fault)),
            },
            Some(To::Value(value)) => match decode_scalar(value, &format!("{field}.value"), limits)
            {
                Ok(Scalar::List(_)) => {
                    let fault = "is a list: use an expression";
                    Err(Error::invalid(format!("{field}.value"), fault))
                }
                scalar => scalar.map(Assigned::Value),
            },
        };
        found.extend(faults.keep(to).map(|to| Assignment {
            column: assignment.column,
            to,
        }));
    }
    faults.finish().map(|()| found)
}

/// The changes of AlterColumns, from its field `alterations`.
pub fn alterations(alterations: Vec<pb::ColumnAlteration>) -> Result<Vec<ColumnAlteration>> {
    let mut faults = Faults::default();
    faults.add_if(alterations.is_empty(), "alterations", "needs a change");
    let mut seen = HashSet::new();
    let mut found = Vec::with_capacity(alterations.len());
    for (i, change) in alterations.into_iter().enumerate() {
        let field = format!("alterations[{i}]");
        check_name(&change.path, &format!("{field}.path"), &mut faults);
        let again = !seen.insert(change.path.clone());
        faults.add_if(again, &format!("{field}.path"), "is there twice");
        if let Some(name) = &change.rename {
            check_name(name, &format!("{field}.rename"), &mut faults);
        }
        let read = |data_type| schema::type_from_pb(&data_type, &format!("{field}.type"));
        let data_type = change.r#type.map(read).transpose();
        let nothing = change.rename.is_none()
            && change.nullable.is_none()
            && data_type.as_ref().is_ok_and(Option::is_none);
        faults.add_if(nothing, &field, "changes nothing");
        found.push(ColumnAlteration {
            path: change.path,
            rename: change.rename,
            nullable: change.nullable,
            data_type: faults.keep(data_type).flatten(),
        });
    }
    faults.finish().map(|()| found)
}

/// The columns of AddColumns.
pub fn new_columns(source: Option<Source>, limits: &Limits) -> Result<NewColumns> {
    match source {
        None => Err(Error::invalid("source", "needs computed or nulls")),
        Some(Source::Computed(pb::NewColumns { columns })) => {
            let mut faults = Faults::default();
            faults.add_if(columns.is_empty(), "computed.columns", "needs a column");
            let mut seen = HashSet::new();
            for (i, column) in columns.iter().enumerate() {
                let field = format!("computed.columns[{i}]");
                check_name(&column.name, &format!("{field}.name"), &mut faults);
                let again = !seen.insert(&column.name);
                faults.add_if(again, &format!("{field}.name"), "is there twice");
                if let Some(fault) = text_fault(&column.expression, limits.max_filter_bytes) {
                    faults.add(format!("{field}.expression"), fault);
                }
            }
            faults.finish()?;
            let columns = columns.into_iter().map(|c| (c.name, c.expression));
            Ok(NewColumns::Computed(columns.collect()))
        }
        Some(Source::Nulls(columns)) => {
            let schema = schema::from_pb(columns, "nulls")?;
            let mut faults = Faults::default();
            for (i, field) in schema.fields().iter().enumerate() {
                let path = format!("nulls.fields[{i}].nullable");
                faults.add_if(
                    !field.is_nullable(),
                    &path,
                    "must be true: it begins as nulls",
                );
            }
            faults.finish()?;
            Ok(NewColumns::Nulls(Arc::new(schema)))
        }
    }
}

/// The columns of DropColumns, from its field `columns`.
pub fn dropped_columns(columns: Vec<String>) -> Result<Vec<String>> {
    let mut faults = Faults::default();
    faults.add_if(columns.is_empty(), "columns", "needs a column");
    check_columns(&columns, "columns", &mut faults);
    faults.finish().map(|()| columns)
}

/// What to optimize. Without a wish: compact and indexes.
pub fn optimize_options(request: &pb::OptimizeTableRequest) -> Result<OptimizeOptions> {
    let prune_older_than = duration(request.prune_older_than, "prune_older_than")?;
    let nothing_set = !request.compact && !request.indexes && prune_older_than.is_none();
    Ok(OptimizeOptions {
        compact: request.compact || nothing_set,
        indexes: request.indexes || nothing_set,
        prune_older_than,
    })
}

/// A span of time that is not negative. `field` is the path of `duration`.
pub fn duration(duration: Option<prost_types::Duration>, field: &str) -> Result<Option<Duration>> {
    let read = |d: prost_types::Duration| {
        // prost's own conversion overflows on the most negative seconds.
        match (u64::try_from(d.seconds), u32::try_from(d.nanos)) {
            (Ok(seconds), Ok(nanos @ 0..1_000_000_000)) => Ok(Duration::new(seconds, nanos)),
            _ => Err(Error::invalid(field, "is not a duration of at least 0")),
        }
    };
    duration.map(read).transpose()
}

/// Which version to restore.
pub fn version_ref(target: Option<Target>) -> Result<VersionRef> {
    match target {
        None => Err(Error::invalid("target", "needs a version or a tag")),
        Some(Target::Version(0)) => Err(Error::invalid("version", "must be at least 1")),
        Some(Target::Version(number)) => Ok(VersionRef::Number(number)),
        Some(Target::Tag(name)) => tag_name(name, "tag").map(VersionRef::Tag),
    }
}

/// Name and version of field `tag`.
pub fn tag(tag: Option<pb::Tag>) -> Result<(String, u64)> {
    let pb::Tag { name, version } = tag.ok_or_else(|| Error::invalid("tag", "is required"))?;
    let mut faults = Faults::default();
    let name = faults.keep(tag_name(name, "tag.name"));
    faults.add_if(version == 0, "tag.version", "must be at least 1");
    faults
        .finish()
        .map(|()| (name.unwrap_or_default(), version))
}

/// The name of a tag: nothing that a path could be made of. `field` is its path.
pub fn tag_name(name: String, field: &str) -> Result<String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let fault = match name.as_str() {
        "" => "is required",
        name if name.len() > crate::domain::ids::MAX_TABLE_NAME => "is longer than 200 bytes",
        name if !name.bytes().all(good) => "may only have letters, digits, '_', '-' and '.'",
        name if name.starts_with('.') || name.ends_with('.') || name.contains("..") => {
            "may not begin or end with '.' or contain '..'"
        }
        name if name.ends_with(".lock") => "may not end with '.lock'",
        _ => return Ok(name),
    };
    Err(Error::invalid(field, fault))
}

fn check_name(name: &str, field: &str, faults: &mut Faults) {
    if let Some(fault) = text_fault(name, MAX_NAME) {
        faults.add(field, fault);
    }
}

/// The answer of DescribeTable.
pub fn description(
    table: String,
    info: TableInfo,
    served: pb::Served,
) -> Result<pb::DescribeTableResponse> {
    Ok(pb::DescribeTableResponse {
        table,
        schema: Some(schema::to_pb(&info.schema)?),
        num_rows: info.num_rows,
        num_deleted_rows: info.num_deleted_rows,
        size_bytes: info.size_bytes,
        num_fragments: info.num_fragments,
        num_small_fragments: info.num_small_fragments,
        version: info.version,
        indexes: info.indexes.into_iter().map(index::info).collect(),
        served: Some(served),
    })
}

/// A version, for an answer.
pub fn version_info(info: VersionInfo) -> pb::VersionInfo {
    pb::VersionInfo {
        version: info.version,
        committed_at: Some(info.committed_at.into()),
        metadata: info.metadata.into_iter().collect(),
    }
}

/// The answer of OptimizeTable.
pub fn optimized(
    stats: OptimizeStats,
    version: u64,
    served: pb::Served,
) -> pb::OptimizeTableResponse {
    pb::OptimizeTableResponse {
        fragments_removed: stats.fragments_removed,
        fragments_added: stats.fragments_added,
        versions_removed: stats.versions_removed,
        bytes_removed: stats.bytes_removed,
        version,
        served: Some(served),
    }
}

#[cfg(test)]
mod tests;
