use std::thread;

use ipvs_codec::Family;
use ipvs_model::{Desired, Known};

use super::{PAUSE, Reading};
use crate::dataplane::{DataPlane, Progress};
use crate::error::PlaneError;

/// Reads the state of some families, section after section. Waits for processes.
///
/// # Errors
/// [`PlaneError`] when a section cannot be read.
///
/// ```
/// use ipvs_codec::Family;
/// use ipvs_proxier::{Simulated, observe};
///
/// let known = observe(&mut Simulated::default(), &Family::ALL)?;
/// assert_eq!(known.link, None);
/// # Ok::<(), ipvs_proxier::PlaneError>(())
/// ```
pub fn observe<P: DataPlane + ?Sized>(
    plane: &mut P,
    families: &[Family],
) -> Result<Known, PlaneError> {
    let mut reading = Reading::everything(families);
    let mut known = Known::default();
    let nothing = Desired::default();
    loop {
        let progress = reading.read_on(plane, &mut known, &nothing);
        // Without it nothing may be concluded from the rest.
        if !reading.is_complete() {
            let unread = reading.finish().unread.into_iter().next();
            return unread.map_or(Ok(known), |unread| Err(*unread.error));
        }
        match progress {
            Progress::More => {}
            Progress::Waiting => thread::sleep(PAUSE),
            Progress::Done(()) => return Ok(known),
        }
    }
}
