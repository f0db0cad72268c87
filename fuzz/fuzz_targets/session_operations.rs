#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rserpool_proto::fuzz::session_operations(bytes));
