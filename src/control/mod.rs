//! The control side: configuration loading, load plans, the doctor, metrics and health, live captures, the log, the
//! admin socket. Never on a worker core.

pub mod admin;
pub mod capture;
pub mod doctor;
#[cfg(test)]
mod fake;
pub mod fingerprint;
pub mod health;
pub mod json_schema;
pub mod load;
pub mod load_plan;
pub mod log;
pub mod metrics;
pub mod pcap;
pub mod pcapng;
pub mod scrape;
pub mod socket;
pub mod status;
pub mod subject;
pub mod summary;
pub mod top;
