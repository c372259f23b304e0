//! The results of load runs, opened by those who read them.
//!
//! Owns false runs. Refuses to generate load: workers' records are made here, from seeds.

#[path = "report/browser.rs"]
mod browser;
#[path = "report/compared.rs"]
mod compared;
#[path = "report/documents.rs"]
mod documents;
#[path = "report/fixture.rs"]
mod fixture;
#[path = "report/judged.rs"]
mod judged;
#[path = "report/merged.rs"]
mod merged;
#[path = "schema/validator.rs"]
mod validator;
