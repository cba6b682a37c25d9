//! Columns, versions, tags and upkeep of a table.

use lance::dataset::optimize::CompactionOptions;
use lancedb::table::{
    ColumnAlteration as LanceAlteration, NewColumnTransform, OptimizeAction,
    OptimizeOptions as IndexOptions,
};

use super::{
    Handle, Rules, error,
    filter::{Bound, blame},
    handle::must_have,
};
use crate::domain::{
    Error, Resource, Result,
    table::{
        ColumnAlteration, NewColumns, OptimizeOptions, OptimizeStats, VersionInfo, VersionRef,
    },
};

impl Handle {
    /// Adds columns. Answers the new version.
    pub async fn add_columns(&self, columns: NewColumns, rules: &Rules) -> Result<u64> {
        let schema = self.schema().await?;
        // What is wrong with the values of one of several nobody tells.
        let mut only = None;
        let transform = match columns {
            NewColumns::Nulls(new) => {
                for (i, field) in new.fields().iter().enumerate() {
                    self.must_be_new(&schema, field.name())?;
                    if !field.is_nullable() {
                        let path = format!("nulls.fields[{i}].nullable");
                        return Err(Error::invalid(
                            path,
                            "must be true: the column is all nulls",
                        ));
                    }
                }
                NewColumnTransform::AllNulls(new)
            }
            NewColumns::Computed(columns) => {
                for (i, (name, sql)) in columns.iter().enumerate() {
                    self.must_be_new(&schema, name)?;
                    let field = format!("computed.columns[{i}].expression");
                    let expression = Bound::expression(field, sql, rules)?;
                    expression.check_value(&schema, None)?;
                    only = Some(expression).filter(|_| columns.len() == 1);
                }
                NewColumnTransform::SqlExpressions(columns)
            }
        };
        let added = self
            .table
            .add_columns()
            .transform(transform)
            .execute()
            .await
            .map_err(|e| error::about("computed.columns", blame(&self.name, only.as_ref(), e)))?;
        Ok(added.version)
    }

    fn must_be_new(&self, schema: &arrow::datatypes::Schema, column: &str) -> Result<()> {
        match schema.column_with_name(column) {
            None => Ok(()),
            Some(_) => Err(Error::AlreadyExists {
                kind: Resource::Column,
                name: column.to_owned(),
            }),
        }
    }

    /// Renames columns, changes their type or nullability. Answers the new version.
    pub async fn alter_columns(&self, alterations: Vec<ColumnAlteration>) -> Result<u64> {
        let schema = self.schema().await?;
        let mut changes = Vec::with_capacity(alterations.len());
        for alteration in alterations {
            must_have(&schema, &alteration.path)?;
            let mut change = LanceAlteration::new(alteration.path);
            if let Some(name) = alteration.rename {
                change = change.rename(name);
            }
            if let Some(nullable) = alteration.nullable {
                change = change.set_nullable(nullable);
            }
            if let Some(data_type) = alteration.data_type {
                change = change.cast_to(data_type);
            }
            changes.push(change);
        }
        let altered = self
            .table
            .alter_columns(&changes)
            .await
            .map_err(|e| error::about("alterations", error::in_table(&self.name, e)))?;
        Ok(altered.version)
    }

    /// Drops columns. Answers the new version.
    pub async fn drop_columns(&self, columns: &[String]) -> Result<u64> {
        let schema = self.schema().await?;
        for column in columns {
            must_have(&schema, column)?;
        }
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        let dropped = self
            .table
            .drop_columns(&names)
            .await
            .map_err(|e| error::about("columns", error::in_table(&self.name, e)))?;
        Ok(dropped.version)
    }

    /// Compacts and brings indexes up to date: what was asked for.
    pub async fn optimize(&self, options: OptimizeOptions) -> Result<OptimizeStats> {
        let mut done = OptimizeStats::default();
        if options.compact {
            let stats = self
                .run(OptimizeAction::Compact {
                    options: CompactionOptions::default(),
                    remap_options: None,
                })
                .await?;
            if let Some(compaction) = stats.compaction {
                done.fragments_removed = compaction.fragments_removed as u64;
                done.fragments_added = compaction.fragments_added as u64;
            }
        }
        if options.indexes {
            self.run(OptimizeAction::Index(IndexOptions::default()))
                .await?;
        }
        Ok(done)
    }

    async fn run(&self, action: OptimizeAction) -> Result<lancedb::table::OptimizeStats> {
        self.table
            .optimize(action)
            .await
            .map_err(|e| error::in_table(&self.name, e))
    }

    /// The versions that are there, newest first.
    pub async fn versions(&self) -> Result<Vec<VersionInfo>> {
        let mut versions: Vec<VersionInfo> = self
            .table
            .list_versions()
            .await
            .map_err(|e| error::in_table(&self.name, e))?
            .into_iter()
            .map(|v| VersionInfo {
                version: v.version,
                committed_at: v.timestamp.into(),
                metadata: v.metadata,
            })
            .collect();
        versions.sort_by_key(|v| std::cmp::Reverse(v.version));
        Ok(versions)
    }

    /// Makes an old version the newest one again, as a new version.
    pub async fn restore(&self, target: &VersionRef) -> Result<()> {
        let number = match target {
            VersionRef::Number(number) => *number,
            VersionRef::Tag(tag) => self.tag_version(tag).await?,
        };
        self.version_must_exist(number).await?;
        // A copy of its own: checking out changes what a handle sees.
        let mut dataset = error::dataset(&self.table)
            .await?
            .checkout_version(number)
            .await
            .map_err(|e| error::in_table(&self.name, e.into()))?;
        dataset
            .restore()
            .await
            .map_err(|e| error::in_table(&self.name, e.into()))?;
        self.refresh().await
    }

    /// The tags, by name.
    pub async fn tags(&self) -> Result<Vec<(String, u64)>> {
        let in_table = |e| error::in_table(&self.name, e);
        let tags = self.table.tags().await.map_err(in_table)?;
        let mut tags: Vec<(String, u64)> = tags
            .list()
            .await
            .map_err(in_table)?
            .into_iter()
            .map(|(name, contents)| (name, contents.version))
            .collect();
        tags.sort();
        Ok(tags)
    }

    async fn tag_version(&self, tag: &str) -> Result<u64> {
        self.tags()
            .await?
            .into_iter()
            .find_map(|(name, version)| (name == tag).then_some(version))
            .ok_or_else(|| Error::not_found(Resource::Tag, tag))
    }

    /// Names a version.
    pub async fn create_tag(&self, tag: &str, version: u64) -> Result<()> {
        self.version_must_exist(version).await?;
        if self.tag_version(tag).await.is_ok() {
            return Err(Error::AlreadyExists {
                kind: Resource::Tag,
                name: tag.to_owned(),
            });
        }
        let in_table = |e| error::in_table(&self.name, e);
        let mut tags = self.table.tags().await.map_err(in_table)?;
        tags.create(tag, version).await.map_err(in_table)
    }

    /// Moves a tag.
    pub async fn update_tag(&self, tag: &str, version: u64) -> Result<()> {
        self.version_must_exist(version).await?;
        self.tag_version(tag).await?;
        let in_table = |e| error::in_table(&self.name, e);
        let mut tags = self.table.tags().await.map_err(in_table)?;
        tags.update(tag, version).await.map_err(in_table)
    }

    /// Deletes a tag.
    pub async fn delete_tag(&self, tag: &str) -> Result<()> {
        self.tag_version(tag).await?;
        let in_table = |e| error::in_table(&self.name, e);
        let mut tags = self.table.tags().await.map_err(in_table)?;
        tags.delete(tag).await.map_err(in_table)
    }

    async fn version_must_exist(&self, version: u64) -> Result<()> {
        let there = self.version_numbers().await?;
        if there.contains(&version) {
            return Ok(());
        }
        Err(match there.last() {
            // Numbers are given one after the other.
            Some(newest) if version < *newest => Error::pruned(version),
            _ => Error::not_found(Resource::Version, version.to_string()),
        })
    }
}
