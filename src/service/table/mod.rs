//! TableService: tables, their columns, indexes, versions and tags. Each group has
//! a file of its own; here is the contract.

mod columns;
mod indexes;
mod on_primary;
mod source;
mod tables;
mod versions;

use tonic::{Request, Response, Status};

use super::api::Api;
use crate::proto::v1 as pb;

type Reply<T> = std::result::Result<Response<T>, Status>;

/// Hands each call to the method of the same name in one of the files below.
macro_rules! hand_on {
    ($($name:ident => $run:ident($request:ident) -> $response:ident;)+) => {
        #[tonic::async_trait]
        impl pb::table_service_server::TableService for Api {
            $(async fn $name(&self, request: Request<pb::$request>) -> Reply<pb::$response> {
                self.$run(request).await
            })+
        }
    };
}

hand_on! {
    create_table => run_create_table(CreateTableRequest) -> CreateTableResponse;
    drop_table => run_drop_table(DropTableRequest) -> DropTableResponse;
    list_tables => run_list_tables(ListTablesRequest) -> ListTablesResponse;
    describe_table => run_describe_table(DescribeTableRequest) -> DescribeTableResponse;
    optimize_table => run_optimize_table(OptimizeTableRequest) -> OptimizeTableResponse;
    create_index => run_create_index(CreateIndexRequest) -> CreateIndexResponse;
    drop_index => run_drop_index(DropIndexRequest) -> DropIndexResponse;
    list_indexes => run_list_indexes(ListIndexesRequest) -> ListIndexesResponse;
    wait_for_indexes => run_wait_for_indexes(WaitForIndexesRequest) -> WaitForIndexesResponse;
    list_versions => run_list_versions(ListVersionsRequest) -> ListVersionsResponse;
    restore_version => run_restore_version(RestoreVersionRequest) -> RestoreVersionResponse;
    create_tag => run_create_tag(CreateTagRequest) -> CreateTagResponse;
    update_tag => run_update_tag(UpdateTagRequest) -> UpdateTagResponse;
    delete_tag => run_delete_tag(DeleteTagRequest) -> DeleteTagResponse;
    list_tags => run_list_tags(ListTagsRequest) -> ListTagsResponse;
    add_columns => run_add_columns(AddColumnsRequest) -> AddColumnsResponse;
    alter_columns => run_alter_columns(AlterColumnsRequest) -> AlterColumnsResponse;
    drop_columns => run_drop_columns(DropColumnsRequest) -> DropColumnsResponse;
}
