//! One run: a plan, run twice, its failure made smaller and described so that it can be repeated.

use crate::world::build;
use penstock::sim::packet;
use penstock::sim::plan::{EPOCH, Plan};
use penstock::sim::shrink::{Reduction, apply_list, shrink};
use penstock::sim::site::Site;
use penstock::sim::verdict::{self, Report};
use penstock::sim::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a plan twice and compares the runs. A panic is a failure like any other.
pub fn run(plan: &Plan) -> Result<Report, String> {
    judge(plan, &|plan| verdict::run(&mut build(plan)))
}

/// As `run`, for worlds other than the gateway's.
fn judge(plan: &Plan, once: &dyn Fn(Plan) -> Result<Report, String>) -> Result<Report, String> {
    let guarded = || {
        let caught = catch_unwind(AssertUnwindSafe(|| once(plan.clone())));
        caught.unwrap_or_else(|panic| Err(format!("panicked: {}", text_of(panic.as_ref()))))
    };
    let first = guarded()?;
    let second = guarded()?;
    if first == second { Ok(first) } else { Err(format!("two runs differ:\n{first:?}\n{second:?}")) }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_else(|| "no text".into())
}

/// What a failure is about: its first line without numbers, which differ from plan to plan.
fn kind(reasons: &str) -> String {
    let line = reasons.lines().next().unwrap_or("");
    let line = line.split(": LoadReport").next().unwrap_or("");
    line.chars().filter(|c| !c.is_ascii_digit()).take(120).collect()
}

/// A failure with the command that repeats it, and the smallest plan found that fails in the same way.
fn describe(plan: &Plan, reasons: &str, once: &dyn Fn(Plan) -> Result<Report, String>) -> String {
    let wanted = kind(reasons);
    let (small, taken) = shrink(plan, |plan| judge(plan, once).is_err_and(|reasons| kind(&reasons) == wanted));
    let list: Vec<String> = taken.iter().map(Reduction::to_string).collect();
    let repeat = "cargo test --test simulation one_seed -- --nocapture";
    let smaller = judge(&small, once).err().unwrap_or_default();
    format!(
        "{reasons}\nPENSTOCK_SEED={} {repeat}\nmade smaller: {smaller}\nPENSTOCK_SEED={} PENSTOCK_WITHOUT={} {repeat}",
        plan.seed,
        plan.seed,
        list.join(",")
    )
}

/// What a seed draws, run; a failure is described.
pub fn run_seed(seed: u64) -> Result<Report, String> {
    let plan = Plan::drawn(seed);
    run(&plan).map_err(|reasons| describe(&plan, &reasons, &|plan| verdict::run(&mut build(plan))))
}

/// A number from the environment.
pub fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {value:?}")))
}

#[test]
fn one_seed() {
    let Some(seed) = number("PENSTOCK_SEED") else {
        println!("skipped: PENSTOCK_SEED names no run to repeat");
        return;
    };
    let mut plan = Plan::drawn(seed);
    let without = std::env::var("PENSTOCK_WITHOUT").unwrap_or_default();
    apply_list(&mut plan, &without).unwrap_or_else(|wrong| panic!("PENSTOCK_WITHOUT: {wrong}"));
    println!("{:#?}", readable(&plan));
    if std::env::var_os("PENSTOCK_FRAMES").is_some() {
        let mut world = build(plan);
        world.watch(|now, what, frame| {
            println!("{:>12.6} {what:<16} {}", now.since(EPOCH).as_secs_f64(), packet::summary(frame));
        });
        println!("{:#?}", verdict::run(&mut world));
        return;
    }
    match run(&plan) {
        Ok(report) => println!("{report:#?}"),
        Err(reasons) if without.is_empty() => {
            panic!("{}", describe(&plan, &reasons, &|plan| verdict::run(&mut build(plan))));
        }
        Err(reasons) => panic!("{reasons}"),
    }
}

/// The plan without its contents.
fn readable(plan: &Plan) -> Plan {
    let mut plan = Plan { site: Site::empty(), ..plan.clone() };
    plan.config.routes.clear();
    for class in plan.loads.iter_mut().flat_map(|load| &mut load.plan.classes) {
        (class.body, class.check.sha256) = (Default::default(), None);
        class.name = String::from_utf8_lossy(&class.head).lines().next().unwrap_or_default().into();
        class.head = Default::default();
    }
    plan
}

/// A gateway that spoils one byte of each long answer to host 1, behind the checksums' back.
fn spoiled(plan: Plan) -> Result<Report, String> {
    let mut world: World<spoil::Spoiled> = spoil::build(plan);
    verdict::run(&mut world)
}

#[test]
fn a_fault_that_is_built_in_is_found_repeated_and_made_small() {
    let failing = (1..).find_map(|seed| {
        let plan = Plan::drawn(seed);
        let rich = plan.clients.len() > 4 && !plan.loads.is_empty() && plan.hosts.len() > 1;
        let reasons = rich.then(|| judge(&plan, &spoiled).err()).flatten()?;
        reasons.contains("sent a bad frame: wrong TCP checksum").then_some((plan, reasons))
    });
    let (plan, reasons) = failing.unwrap();
    let told = describe(&plan, &reasons, &spoiled);
    let list = told.rsplit_once("PENSTOCK_WITHOUT=").unwrap().1.split(' ').next().unwrap();
    assert!(told.contains(&format!("PENSTOCK_SEED={} cargo test", plan.seed)), "{told}");
    let mut small = Plan::drawn(plan.seed);
    apply_list(&mut small, list).unwrap();
    assert!(judge(&small, &spoiled).unwrap_err().contains("wrong TCP checksum"));
    assert!(run(&small).is_ok(), "the fault is what fails, not the plan");
    // One who asks is needed, and asks once.
    let asked: Vec<usize> = small.clients.iter().map(|client| client.requests.len()).collect();
    assert!(asked.len() + small.loads.len() == 1 && asked.iter().all(|n| *n == 1), "{asked:?} {list}");
    assert!(small.events.is_empty() && small.clients.len() + small.loads.len() < plan.clients.len());
}

mod spoil {
    use crate::world::{Gate, gate};
    use penstock::port::{Caps, Frame};
    use penstock::sim::machine::{Held, Node};
    use penstock::sim::plan::Plan;
    use penstock::sim::port::SimPort;
    use penstock::sim::world::World;
    use penstock::time::Now;
    use penstock::worker::Turn;

    pub struct Spoiled(Gate);

    impl Node for Spoiled {
        fn turn(&mut self, now: Now) -> Turn {
            let turn = self.0.turn(now);
            for frame in &mut self.0.port_mut().tx {
                if frame.bytes().len() > 500 {
                    frame.bytes_mut()[400] ^= 1;
                }
            }
            turn
        }

        fn port(&mut self) -> &mut SimPort {
            self.0.port_mut()
        }

        fn held(&self) -> Held {
            Node::held(&self.0)
        }
    }

    pub fn build(mut plan: Plan) -> World<Spoiled> {
        // A device that fills in checksums would hide the fault.
        plan.caps = Caps { mac: plan.caps.mac, mtu: plan.caps.mtu, ..Caps::default() };
        let mut gate = gate(&plan);
        World::new(plan, move |queue, port, counters| Spoiled(gate(queue, port, counters)))
    }
}
