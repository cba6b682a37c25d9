//! TableService: versions and tags.

use tonic::Request;

use super::Reply;
use crate::{
    config::AccessRole::{Admin, Reader},
    connection::Lane,
    domain::{Error, table::VersionRef},
    proto::v1 as pb,
    service::{
        allowed::allowed,
        api::{Api, Call, answer},
    },
    wire::{
        self,
        page::{decode_name, encode_name},
        query::page_size,
    },
};

impl Api {
    pub(super) async fn run_list_versions(
        &self,
        request: Request<pb::ListVersionsRequest>,
    ) -> Reply<pb::ListVersionsResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = async {
            let scope = allowed(&call.extensions, name, Reader)?;
            let size = page_size(call.message.page_size, &self.limits())?;
            let before = decode_name(&call.message.page_token)?
                .map(|number| number.parse::<u64>())
                .transpose()
                .map_err(|_| Error::invalid("page_token", "is not one of this server"))?;
            let (mut versions, served) = self
                .ask(name, move |handle| async move { handle.versions().await })
                .await?;
            versions.retain(|v| before.is_none_or(|before| v.version < before));
            let next = match versions.get(size.wrapping_sub(1)) {
                Some(last) if versions.len() > size => encode_name(&last.version.to_string()),
                _ => String::new(),
            };
            versions.truncate(size);
            if !scope.is_whole() {
                // It is of all rows and columns.
                versions.iter_mut().for_each(|v| v.metadata.clear());
            }
            Ok(((versions, next), served))
        };
        answer(
            &call.extensions,
            name,
            outcome.await,
            |(versions, next), served| {
                Ok(pb::ListVersionsResponse {
                    versions: versions
                        .into_iter()
                        .map(wire::table::version_info)
                        .collect(),
                    next_page_token: next,
                    served: Some(served),
                })
            },
        )
    }

    pub(super) async fn run_restore_version(
        &self,
        request: Request<pb::RestoreVersionRequest>,
    ) -> Reply<pb::RestoreVersionResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        self.before(&call.extensions, &name);
        let outcome = async {
            let scope = allowed(&call.extensions, &name, Admin)?;
            let target = wire::table::version_ref(call.message.target)?;
            let number = match &target {
                VersionRef::Number(number) => Some(*number),
                // What has a tag stays.
                VersionRef::Tag(_) => None,
            };
            let restore = || {
                self.change(&name, &scope, Lane::Alone, move |handle| async move {
                    handle.restore(&target).await
                })
            };
            match number {
                Some(number) => self.holding(&name, number, restore).await,
                None => restore().await,
            }
        };
        answer(
            &call.extensions,
            &name,
            outcome.await,
            |((), version), served| {
                Ok(pb::RestoreVersionResponse {
                    version,
                    served: Some(served),
                })
            },
        )
    }

    pub(super) async fn run_create_tag(
        &self,
        request: Request<pb::CreateTagRequest>,
    ) -> Reply<pb::CreateTagResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        self.before(&call.extensions, &name);
        let outcome = async {
            allowed(&call.extensions, &name, Admin)?;
            let (tag, version) = wire::table::tag(call.message.tag)?;
            let create = || {
                self.ask(&name, move |handle| async move {
                    handle.create_tag(&tag, version).await
                })
            };
            self.holding(&name, version, create).await
        };
        answer(&call.extensions, &name, outcome.await, |(), served| {
            Ok(pb::CreateTagResponse {
                served: Some(served),
            })
        })
    }

    pub(super) async fn run_update_tag(
        &self,
        request: Request<pb::UpdateTagRequest>,
    ) -> Reply<pb::UpdateTagResponse> {
        let call = Call::from(request);
        let name = call.message.table.clone();
        self.before(&call.extensions, &name);
        let outcome = async {
            allowed(&call.extensions, &name, Admin)?;
            let (tag, version) = wire::table::tag(call.message.tag)?;
            let update = || {
                self.ask(&name, move |handle| async move {
                    handle.update_tag(&tag, version).await
                })
            };
            self.holding(&name, version, update).await
        };
        answer(&call.extensions, &name, outcome.await, |(), served| {
            Ok(pb::UpdateTagResponse {
                served: Some(served),
            })
        })
    }

    pub(super) async fn run_delete_tag(
        &self,
        request: Request<pb::DeleteTagRequest>,
    ) -> Reply<pb::DeleteTagResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        self.before(&call.extensions, name);
        let outcome = async {
            allowed(&call.extensions, name, Admin)?;
            let tag = wire::table::tag_name(call.message.name, "name")?;
            self.ask(
                name,
                move |handle| async move { handle.delete_tag(&tag).await },
            )
            .await
        };
        answer(&call.extensions, name, outcome.await, |(), served| {
            Ok(pb::DeleteTagResponse {
                served: Some(served),
            })
        })
    }

    pub(super) async fn run_list_tags(
        &self,
        request: Request<pb::ListTagsRequest>,
    ) -> Reply<pb::ListTagsResponse> {
        let call = Call::from(request);
        let name = &call.message.table;
        let outcome = async {
            allowed(&call.extensions, name, Reader)?;
            self.ask(name, move |handle| async move { handle.tags().await })
                .await
        };
        answer(&call.extensions, name, outcome.await, |tags, served| {
            Ok(pb::ListTagsResponse {
                tags: tags
                    .into_iter()
                    .map(|(name, version)| pb::Tag { name, version })
                    .collect(),
                served: Some(served),
            })
        })
    }
}
