//! The limit on machines that are simulated.

use super::*;

const RANGE: Range = Range {
    min: 4,
    initial: 16,
    max: 200,
    tolerance: 2.0,
};

/// A machine of so many cores: reads beyond them share its time.
fn run(gradient: &mut Gradient, now: &mut Instant, cores: usize, wanted: usize, windows: u32) {
    for _ in 0..windows {
        let n = gradient.limit().min(wanted);
        let took = Duration::from_millis(10).mul_f64((n as f64 / cores as f64).max(1.0));
        for _ in 0..20 {
            gradient.arrived(n, *now);
            gradient.answered(Signal(0), took, *now);
        }
        *now += WINDOW;
        gradient.answered(Signal(0), took, *now);
    }
}

#[test]
fn it_grows_where_that_costs_no_time_and_no_faster_than_that() {
    let mut now = Instant::now();
    let mut gradient = Gradient::new(RANGE, now);
    run(&mut gradient, &mut now, 1_000, 1_000, 1);
    assert!(gradient.limit() <= 17, "{gradient:?}");
    run(&mut gradient, &mut now, 1_000, 1_000, 300);
    assert_eq!(gradient.limit(), 200);
}

#[test]
fn it_shrinks_to_what_the_machine_can_do() {
    let mut now = Instant::now();
    let mut gradient = Gradient::new(RANGE, now);
    // What is usual is seen before the load comes.
    run(&mut gradient, &mut now, 4, 2, 20);
    run(&mut gradient, &mut now, 4, 1_000, 200);
    let limit = gradient.limit();
    // The usual time is allowed to double: 8, and the headroom.
    assert!((8..=20).contains(&limit), "{limit}");
    // For ever: an overload is not learnt as the usual state.
    run(&mut gradient, &mut now, 4, 1_000, 20_000);
    assert!(gradient.limit() <= limit + 1, "{}", gradient.limit());
}

#[test]
fn what_is_slower_for_good_becomes_usual() {
    let mut now = Instant::now();
    let mut gradient = Gradient::new(RANGE, now);
    run(&mut gradient, &mut now, 1_000, 1_000, 300);
    // Every read takes eight times as long, however few they are.
    let mut smallest = usize::MAX;
    for _ in 0..400 {
        let n = gradient.limit();
        for _ in 0..20 {
            gradient.arrived(n, now);
            gradient.answered(Signal(0), Duration::from_millis(80), now);
        }
        now += WINDOW;
        gradient.answered(Signal(0), Duration::from_millis(80), now);
        smallest = smallest.min(gradient.limit());
    }
    assert_eq!(smallest, RANGE.min);
    assert!(gradient.limit() > 100, "{gradient:?}");
}

#[test]
fn another_mix_of_reads_is_no_overload() {
    let mut now = Instant::now();
    let mut gradient = Gradient::new(RANGE, now);
    let mut window = |slow_ones: usize| {
        for i in 0..20 {
            gradient.arrived(20, now);
            let slow = i < slow_ones;
            let took = Duration::from_millis(if slow { 200 } else { 2 });
            gradient.answered(Signal(u8::from(slow)), took, now);
        }
        now += WINDOW;
        gradient.answered(Signal(0), Duration::from_millis(2), now)
    };
    window(1);
    for slow_ones in [1, 19, 0, 20, 10] {
        let step = window(slow_ones).unwrap();
        assert!((step.slowdown - 1.0).abs() < 0.01, "{step}");
    }
}

#[test]
fn after_a_pause_it_begins_anew() {
    let mut now = Instant::now();
    let mut gradient = Gradient::new(RANGE, now);
    run(&mut gradient, &mut now, 1_000, 1_000, 300);
    now += IDLE;
    gradient.arrived(1, now);
    assert_eq!(gradient.limit(), RANGE.initial);
}

#[test]
fn a_light_load_moves_nothing() {
    let mut now = Instant::now();
    let mut gradient = Gradient::new(RANGE, now);
    run(&mut gradient, &mut now, 4, 6, 100);
    assert_eq!(gradient.limit(), RANGE.initial);
}
