//! Locking and blocking work, done the same way everywhere.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also when a thread panicked while it held the lock.
///
/// A poisoned lock is ignored because the data behind our mutexes is whole after every single
/// change. The panic itself ends the process, through the stage that it happened in.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocking work was not started because the runtime is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not started: the process is stopping")]
pub struct Stopping;

/// Runs work that may block on the blocking pool, so that no async worker waits for it. A panic of
/// the work continues in the caller.
///
/// # Errors
/// [`Stopping`] when the work was not started because the runtime is shutting down.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopping> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Stopping),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn panic_of_blocking_work_reaches_the_caller() {
        let caller = tokio::spawn(async { blocking(|| panic!("broken")).await });
        assert!(caller.await.unwrap_err().is_panic());
        assert_eq!(blocking(|| 7).await, Ok(7));
    }

    #[test]
    fn poisoned_lock_is_usable() {
        let mutex = Arc::new(Mutex::new(1));
        let held = Arc::clone(&mutex);
        let thread = std::thread::spawn(move || {
            let _guard = lock(&held);
            panic!("while the lock is held");
        });
        assert!(thread.join().is_err());
        *lock(&mutex) += 1;
        assert_eq!(*lock(&mutex), 2);
    }
}
