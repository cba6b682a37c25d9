//! Whoever may not touch a table is told so by its name: nothing else of the message is
//! read, however much of it there is and whatever it says.

use tonic::{
    Code, Request, Status, client::Grpc, codec::CompressionEncoding,
    service::interceptor::InterceptedService,
};
use tonic_prost::ProstCodec;

use super::{
    guarded::{Guarded, Shows},
    tenants::create,
};

/// A table, and fields that are something else in every request of the contract.
#[derive(Clone, PartialEq, prost::Message)]
struct Odd {
    #[prost(string, tag = "1")]
    table: String,
    #[prost(fixed32, repeated, packed = "false", tag = "2")]
    second: Vec<u32>,
    #[prost(fixed32, repeated, packed = "false", tag = "3")]
    third: Vec<u32>,
}

async fn call(server: &Guarded, caller: &str, method: &str, packed: bool, table: &str) -> Status {
    let key = server.files.keys[caller].clone();
    let service = InterceptedService::new(server.channel.clone(), Shows(Some(key)));
    let mut grpc = Grpc::new(service);
    if packed {
        grpc = grpc.send_compressed(CompressionEncoding::Zstd);
    }
    grpc.ready().await.unwrap();
    let path = format!("/lancegate.v1.{method}").parse().unwrap();
    let odd = Odd {
        table: table.into(),
        second: vec![7; 100_000],
        third: vec![7; 100_000],
    };
    let codec = ProstCodec::<Odd, ()>::default();
    let answer = match method {
        "WriteService/Import" => {
            let parts = Request::new(tokio_stream::iter([odd]));
            grpc.client_streaming(parts, path, codec).await
        }
        _ => grpc.unary(Request::new(odd), path, codec).await,
    };
    answer.map(drop).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_refused_before_the_message_is_read() {
    let server = Guarded::start(0, "").await;
    create(&mut server.caller("root"), "docs").await;
    for method in [
        "SearchService/Search",
        "WriteService/Upsert",
        "WriteService/Import",
        "TableService/CreateIndex",
    ] {
        for packed in [false, true] {
            let refused = call(&server, "librarian", method, packed, "secret").await;
            assert_eq!(
                refused.code(),
                Code::PermissionDenied,
                "{method}: {refused:?}"
            );
            // Who may is told what is wrong with it.
            let read = call(&server, "root", method, packed, "docs").await;
            assert_ne!(read.code(), Code::PermissionDenied, "{method}: {read:?}");
            assert!(read.message().contains("protobuf"), "{method}: {read:?}");
        }
    }
}
