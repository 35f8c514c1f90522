//! NVIDIA's compiler of kernels, found when the program runs, in any version that is there.
#![expect(unsafe_code, reason = "the compiler's interface is C")]

use super::device::DeviceError;
use libloading::Library;
use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr,
};

/// What the library is called, the newest first, where the system looks for libraries and where toolkits put them.
const NAMES: [&str; 8] = [
    "libnvrtc.so",
    "libnvrtc.so.13",
    "libnvrtc.so.12",
    "/usr/local/cuda/lib64/libnvrtc.so",
    "/usr/local/cuda/lib64/libnvrtc.so.13",
    "/usr/local/cuda/lib64/libnvrtc.so.12",
    "nvrtc64_130_0.dll",
    "nvrtc64_120_0.dll",
];

/// The compiler.
pub(super) struct Nvrtc(Library);

/// `nvrtcResult`; 0 is success.
type Status = c_int;
/// `nvrtcProgram`.
type Program = *mut c_void;

impl Nvrtc {
    /// `None` where there is none.
    pub(super) fn find() -> Option<Self> {
        // SAFETY: these are NVIDIA's own libraries, which only prepare themselves when they are loaded.
        NAMES.iter().find_map(|name| unsafe { Library::new(*name) }.ok()).map(Self)
    }

    /// Machine code of a text. `name` is for messages.
    pub(super) fn compile(&self, name: &str, text: &str, options: &[String]) -> Result<Vec<u8>, DeviceError> {
        let problem = |problem: String| DeviceError(format!("compiling {name}: {problem}"));
        let without_zeros = |text: &str| CString::new(text).map_err(|error| problem(error.to_string()));
        let text = without_zeros(text)?;
        let options = options.iter().map(|option| without_zeros(option)).collect::<Result<Vec<CString>, _>>()?;
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: the functions have these types in nvrtc.h; texts and options live until they return; the program is
        // destroyed last; buffers have the sizes that the compiler names.
        unsafe {
            let mut program: Program = ptr::null_mut();
            let create = self.function::<unsafe extern "C" fn(
                *mut Program,
                *const c_char,
                *const c_char,
                c_int,
                *const *const c_char,
                *const *const c_char,
            ) -> Status>(c"nvrtcCreateProgram")?;
            self.check(create(&raw mut program, text.as_ptr(), ptr::null(), 0, ptr::null(), ptr::null()))?;
            let compile = self.function::<unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status>(
                c"nvrtcCompileProgram",
            )?;
            let compiled = self.check(compile(program, options.len() as c_int, options.as_ptr()));
            let binary = match compiled {
                Ok(()) => self.bytes(program, c"nvrtcGetCUBINSize", c"nvrtcGetCUBIN"),
                Err(error) => {
                    let log = self.bytes(program, c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog").unwrap_or_default();
                    let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
                    Err(problem(format!("{error}\n{log}")))
                }
            };
            let destroy = self.function::<unsafe extern "C" fn(*mut Program) -> Status>(c"nvrtcDestroyProgram")?;
            self.check(destroy(&raw mut program))?;
            binary
        }
    }

    /// What a pair of functions gives, of which the first names the size.
    ///
    /// # Safety
    /// The program must be one of this compiler's, and the functions such a pair.
    unsafe fn bytes(&self, program: Program, size_of: &CStr, get: &CStr) -> Result<Vec<u8>, DeviceError> {
        // SAFETY: as the caller says.
        unsafe {
            let mut size = 0;
            let size_of = self.function::<unsafe extern "C" fn(Program, *mut usize) -> Status>(size_of)?;
            self.check(size_of(program, &raw mut size))?;
            let mut bytes = vec![0u8; size];
            let get = self.function::<unsafe extern "C" fn(Program, *mut c_char) -> Status>(get)?;
            self.check(get(program, bytes.as_mut_ptr().cast::<c_char>()))?;
            Ok(bytes)
        }
    }

    /// # Safety
    /// `F` must be the function's type.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Result<F, DeviceError> {
        // SAFETY: as the caller says.
        let symbol = unsafe { self.0.get::<F>(name.to_bytes_with_nul()) };
        symbol.map(|symbol| *symbol).map_err(|error| DeviceError(format!("the compiler of kernels: {error}")))
    }

    fn check(&self, status: Status) -> Result<(), DeviceError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the function has this type in nvrtc.h, and gives a text that stays.
        let text = unsafe {
            let text = self.function::<unsafe extern "C" fn(Status) -> *const c_char>(c"nvrtcGetErrorString")?;
            CStr::from_ptr(text(status)).to_string_lossy().into_owned()
        };
        Err(DeviceError(text))
    }
}
