//! Reading the files that are compared.

use std::collections::HashSet;

use futures::{StreamExt, stream};

use super::{
    Place, Progress,
    compare::{common, files_of, same},
    inventory::{Inventory, Source},
    report::Kind,
};
use crate::{
    domain::TableName,
    storage::{Checksum, ObjectError, Objects},
};

/// A replica and what it holds of the table.
pub(super) struct Copy<'a> {
    pub place: &'a Place,
    pub inventory: Inventory,
}

/// Reads files of one table.
pub(super) struct Reader<'a> {
    pub primary: &'a Place,
    pub table: &'a TableName,
    /// Files read at once, at all places together.
    pub parallel: usize,
    pub progress: &'a Progress,
}

/// One file to read. `place` is an index of the copies; the primary is `None`.
struct Job {
    place: Option<usize>,
    file: String,
    size: u64,
}

/// A place that could not be read.
pub(super) type Trouble = (String, ObjectError);

impl Reader<'_> {
    /// Reads the manifests of the versions that the primary and a copy have.
    /// Answers the places that could not be read.
    pub(super) async fn read_manifests(
        &self,
        source: &mut Source,
        copies: &mut [Copy<'_>],
    ) -> Vec<Trouble> {
        let mut jobs = Vec::new();
        let mut wanted = HashSet::new();
        for (index, copy) in copies.iter().enumerate() {
            for version in common(source, &copy.inventory) {
                wanted.insert(version);
                jobs.extend(copy.inventory.manifests.get(&version).map(|m| Job {
                    place: Some(index),
                    file: m.file.clone(),
                    size: m.object.size,
                }));
            }
        }
        let ours = source.inventory.manifests.iter();
        jobs.extend(
            ours.filter(|(version, _)| wanted.contains(*version))
                .map(|(_, m)| Job {
                    place: None,
                    file: m.file.clone(),
                    size: m.object.size,
                }),
        );
        let (read, troubles) = self.read(jobs, copies).await;
        for (job, checksum) in read {
            let inventory = match job.place {
                Some(index) => copies.get_mut(index).map(|copy| &mut copy.inventory),
                None => Some(&mut source.inventory),
            };
            let manifests = inventory.into_iter().flat_map(|i| i.manifests.values_mut());
            for manifest in manifests.filter(|m| m.file == job.file) {
                manifest.object.checksum = Some(checksum);
            }
        }
        troubles
    }

    /// Reads the files of the versions with the same manifests, where their sizes
    /// are the same: all of them, or `only` these. Answers the places that could
    /// not be read.
    pub(super) async fn read_files(
        &self,
        source: &mut Source,
        copies: &mut [Copy<'_>],
        only: Option<&HashSet<String>>,
    ) -> Vec<Trouble> {
        let mut jobs = Vec::new();
        let mut wanted = HashSet::new();
        for (index, copy) in copies.iter().enumerate() {
            let same = same(source, &copy.inventory);
            let files = files_of(source, &same).into_keys();
            for file in files.filter(|file| only.is_none_or(|only| only.contains(*file))) {
                let our = source.inventory.files.get(file);
                let their = copy.inventory.files.get(file);
                if let (Some(our), Some(their)) = (our, their)
                    && our.size == their.size
                {
                    wanted.insert(file);
                    jobs.push(Job {
                        place: Some(index),
                        file: file.to_owned(),
                        size: their.size,
                    });
                }
            }
            // Tags are small, and may have another size.
            for file in source.inventory.tags() {
                if let Some(their) = copy.inventory.files.get(file) {
                    wanted.insert(file);
                    jobs.push(Job {
                        place: Some(index),
                        file: file.clone(),
                        size: their.size,
                    });
                }
            }
        }
        jobs.extend(wanted.into_iter().filter_map(|file| {
            Some(Job {
                place: None,
                file: file.to_owned(),
                size: source.inventory.files.get(file)?.size,
            })
        }));
        // A file is read at all places at about the same time, so that one that
        // is pruned meanwhile is gone for few of them.
        jobs.sort_unstable_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        let (read, troubles) = self.read(jobs, copies).await;
        for (job, checksum) in read {
            let inventory = match job.place {
                Some(index) => copies.get_mut(index).map(|copy| &mut copy.inventory),
                None => Some(&mut source.inventory),
            };
            if let Some(object) = inventory.and_then(|i| i.files.get_mut(&job.file)) {
                object.checksum = Some(checksum);
            }
        }
        troubles
    }

    /// Reads files, a few at once. One that is gone meanwhile has no checksum.
    async fn read(
        &self,
        jobs: Vec<Job>,
        copies: &[Copy<'_>],
    ) -> (Vec<(Job, Checksum)>, Vec<Trouble>) {
        self.progress
            .add_total(jobs.iter().map(|job| job.size).sum());
        let folder = Objects::table_folder(self.table);
        let mut reads = stream::iter(jobs)
            .map(|job| {
                let path = format!("{folder}/{}", job.file);
                let place = self.place(job.place, copies);
                async move {
                    let objects = place.store.objects();
                    let done = |bytes| self.progress.add_done(bytes);
                    (objects.checksum(&path, job.size, done).await, job)
                }
            })
            .buffer_unordered(self.parallel);
        let (mut read, mut troubles) = (Vec::new(), Vec::<Trouble>::new());
        while let Some((outcome, job)) = reads.next().await {
            match outcome {
                Ok(checksum) => read.push((job, checksum)),
                Err(ObjectError::NotFound(_)) => {}
                Err(error) => {
                    let name = &self.place(job.place, copies).name;
                    // One of each place says enough.
                    if troubles.iter().all(|(known, _)| known != name) {
                        troubles.push((name.clone(), error));
                    }
                }
            }
        }
        (read, troubles)
    }

    fn place<'a>(&'a self, index: Option<usize>, copies: &[Copy<'a>]) -> &'a Place {
        let copy = index.and_then(|index| copies.get(index));
        copy.map_or(self.primary, |copy| copy.place)
    }

    /// Whether a version is not any more what was compared: the primary dropped
    /// it, or the replica replaced it. What a reader got of it then says nothing
    /// about the copy.
    pub(super) async fn moved(
        &self,
        version: u64,
        source: &Inventory,
        copy: &Copy<'_>,
    ) -> Option<Kind> {
        if !self.is_as_read(self.primary, source, version).await {
            return Some(Kind::Pruned);
        }
        let is_as_read = self.is_as_read(copy.place, &copy.inventory, version).await;
        (!is_as_read).then_some(Kind::Changed)
    }

    /// Whether a manifest still has the bytes that were read. One that cannot be
    /// asked for is taken to have them: the finding stands.
    async fn is_as_read(&self, place: &Place, inventory: &Inventory, version: u64) -> bool {
        let Some(manifest) = inventory.manifests.get(&version) else {
            return false;
        };
        let path = format!("{}/{}", Objects::table_folder(self.table), manifest.file);
        let objects = place.store.objects();
        let size = match objects.size(&path).await {
            Ok(Some(size)) => size,
            Ok(None) => return false,
            Err(_) => return true,
        };
        match objects.checksum(&path, size, |_| {}).await {
            Ok(now) => manifest.object.checksum.is_none_or(|read| read == now),
            Err(ObjectError::NotFound(_)) => false,
            Err(_) => true,
        }
    }
}
