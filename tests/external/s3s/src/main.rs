//! s3s-fs on a folder, on loopback: `lancegate-s3s PORT FOLDER`. It looks whether an
//! object is there before it writes one, so that of several conditional writers at
//! once more than one may win.

use std::error::Error;

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().ok_or("which port?")?.parse()?;
    let folder = args.next().ok_or("which folder?")?;
    let files = FileSystem::new(folder).map_err(|e| format!("{e:?}"))?;
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single("testkey", "testsecret"));
    let service = service.build();
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let service = service.clone();
        tokio::spawn(async move {
            let server = Builder::new(TokioExecutor::new());
            // A client that goes away is no fault of the server.
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
