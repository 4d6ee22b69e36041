//! Jobs on several devices.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

/// Runs every job, job i on device `i % devices`: devices side by side, jobs of one device one after the other. Each device
/// owns its element of `devices`; a single one works on the calling thread. Results come in the order of the jobs.
///
/// # Errors
/// That of the first device whose job failed. Jobs that other devices are at are finished before it returns, no other is begun.
pub fn side_by_side<D: Send, J: Send, T: Send, E: Send>(
    devices: Vec<D>,
    jobs: Vec<J>,
    run: impl Fn(&D, J) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let (count, total) = (devices.len(), jobs.len());
    let mut queues: Vec<(D, Vec<J>)> = devices.into_iter().map(|device| (device, Vec::new())).collect();
    for (index, job) in jobs.into_iter().enumerate() {
        queues[index % count].1.push(job);
    }
    let has_failed = AtomicBool::new(false);
    let work = |(device, jobs): (D, Vec<J>)| -> Result<Vec<T>, E> {
        let to_do = jobs.into_iter().take_while(|_| !has_failed.load(Ordering::Relaxed));
        let done =
            to_do.map(|job| run(&device, job).inspect_err(|_| has_failed.store(true, Ordering::Relaxed)));
        done.collect()
    };
    let by_device: Vec<Result<Vec<T>, E>> = if count == 1 {
        queues.into_iter().map(work).collect()
    } else {
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = queues.into_iter().map(|queue| scope.spawn(move || work(queue))).collect();
            let join =
                |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            threads.into_iter().map(join).collect()
        })
    };
    let results: Result<Vec<_>, E> = by_device.into_iter().map(|done| done.map(Vec::into_iter)).collect();
    let mut results = results?;
    Ok((0..total).filter_map(|index| results[index % count].next()).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::sync::{Barrier, Mutex};

    use super::*;

    #[test]
    fn jobs_go_round_the_devices_and_results_come_in_their_order() {
        for devices in 1..=4 {
            let done = side_by_side((0..devices).collect(), (0..7).collect(), |device, job| {
                Ok::<_, ()>((job, *device))
            });
            assert_eq!(done, Ok((0..7).map(|job| (job, job % devices)).collect::<Vec<_>>()));
        }
    }

    #[test]
    fn after_a_failure_those_under_way_are_finished_and_no_job_is_begun() {
        // both are at their first job; device 0 fails and drops its sender, device 1 goes on until then
        let (sender, receiver) = channel::<()>();
        let (receiver, begun, both) = (Mutex::new(receiver), Mutex::new(Vec::new()), Barrier::new(2));
        let result = side_by_side(vec![Some(sender), None], (0..6).collect(), |sender, job| {
            begun.lock().unwrap().push(job);
            if job < 2 {
                both.wait();
            }
            match sender {
                Some(_) => Err(format!("job {job}")),
                None => Ok(receiver.lock().unwrap().recv()),
            }
        });
        assert_eq!(result, Err("job 0".to_owned()));
        let mut begun = begun.into_inner().unwrap();
        begun.sort_unstable();
        assert_eq!(begun, [0, 1]);
    }
}
