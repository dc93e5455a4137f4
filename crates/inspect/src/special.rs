//! Tail probabilities: statistic → probability of one at least as large.
//!
//! **Invariant:** results lie in 0 to 1, and equal SciPy's within 1e-9 (tests/it/drift.rs).

/// Upper tail of chi-square with `k` degrees of freedom: the regularised incomplete gamma function Q(k/2, x/2).
///
/// Source: Press et al., Numerical Recipes, §6.2: series below a + 1, Lentz's continued fraction above.
pub fn chi2_sf(x: f64, k: f64) -> f64 {
    let (a, x) = (k / 2.0, x / 2.0);
    if !(x > 0.0 && a > 0.0) {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    let q = if x < a + 1.0 { 1.0 - front * series(a, x) } else { front * fraction(a, x) };
    q.clamp(0.0, 1.0)
}

const ROUNDS: u32 = 100_000;

fn series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
    for _ in 0..ROUNDS {
        n += 1.0;
        term *= x / n;
        sum += term;
        if term.abs() < sum.abs() * 1e-16 {
            break;
        }
    }
    sum
}

fn fraction(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut h = d;
    for round in 1..ROUNDS {
        let i = f64::from(round);
        let an = -i * (i - a);
        b += 2.0;
        let below = |value: f64| if value.abs() < TINY { TINY } else { value };
        d = 1.0 / below(an * d + b);
        c = below(b + an / c);
        let step = d * c;
        h *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    h
}

/// Logarithm of the gamma function for positive numbers (Lanczos, g = 7, n = 9).
fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // reflection
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let mut sum = 0.999_999_999_999_809_9;
    let mut i = 1.0;
    for coefficient in COEFFICIENTS {
        sum += coefficient / (x + i);
        i += 1.0;
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// Upper tail of Kolmogorov's limiting distribution, `P(√n D ≥ x)`.
///
/// Source: Marsaglia, Tsang, Wang, "Evaluating Kolmogorov's distribution", 2003, and the theta-function form for small x.
pub fn kolmogorov_sf(x: f64) -> f64 {
    if x <= 0.0 || x.is_nan() {
        return 1.0;
    }
    let tail = if x < 1.0 {
        let scale = -std::f64::consts::PI.powi(2) / (8.0 * x * x);
        let sum: f64 = (0..20).map(|k| (f64::from(2 * k + 1).powi(2) * scale).exp()).sum();
        1.0 - (2.0 * std::f64::consts::PI).sqrt() / x * sum
    } else {
        (1..100).map(|k| if k % 2 == 1 { 2.0 } else { -2.0 } * (-2.0 * f64::from(k).powi(2) * x * x).exp()).sum()
    };
    tail.clamp(0.0, 1.0)
}

/// Benjamini–Hochberg: p-values → q-values, in the same order.
///
/// Source: Benjamini, Hochberg, "Controlling the false discovery rate", 1995; as `scipy.stats.false_discovery_control`.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = p.iter().copied().enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut q = vec![1.0; p.len()];
    let mut least = 1.0_f64;
    for (rank, (place, value)) in order.into_iter().enumerate().rev() {
        #[expect(clippy::cast_precision_loss, reason = "a number of tests")]
        let scaled = value * p.len() as f64 / (rank + 1) as f64;
        least = least.min(scaled);
        if let Some(slot) = q.get_mut(place) {
            *slot = least;
        }
    }
    q
}
