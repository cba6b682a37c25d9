//! The cache on the local disk.

use metrics::{counter, describe_counter};

use super::DISK_CACHE_PAGES;

pub(super) fn describe() {
    describe_counter!(
        DISK_CACHE_PAGES,
        "Pages of 128 KiB that were looked for in the cache on the local disk, by result: hit, or miss (read from the object store)."
    );
}

/// A read found so many pages, and so many were read from the store.
pub fn disk_cache_pages(hits: u64, misses: u64) {
    for (result, pages) in [("hit", hits), ("miss", misses)] {
        if pages > 0 {
            counter!(DISK_CACHE_PAGES, "result" => result).increment(pages);
        }
    }
}
