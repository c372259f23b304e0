//! What it costs to find and understand a request head, and to write an answer.
//!
//! `cargo bench --bench http_parser` measures time. `http_parser --instructions CASE COUNT` runs one case COUNT times and
//! does nothing else, for callgrind: the difference between two counts is exact and independent of the machine's load.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use penstock::config::HttpLimits;
use penstock::http::head::{self, FieldTable, RequestHead, Scan};
use penstock::http::response::{Connection, DateCache, Prepared};

/// 90 bytes, four fields: what a load generator sends.
const SHORT: &[u8] =
    b"GET / HTTP/1.1\r\nHost: 10.8.0.2\r\nUser-Agent: wrk/4\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n";

/// What a browser sends.
const BROWSER: &[u8] = b"GET /articles/2024/kernel-bypass?utm_source=feed&page=2 HTTP/1.1\r\n\
Host: www.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Accept-Language: en-US,en;q=0.9\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Referer: https://www.example.com/articles/2024\r\n\
Connection: keep-alive\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n\
Upgrade-Insecure-Requests: 1\r\n\
Sec-Fetch-Dest: document\r\n\
Sec-Fetch-Mode: navigate\r\n\
Sec-Fetch-Site: same-origin\r\n\
Cache-Control: max-age=0\r\n\r\n";

fn scan_and_parse(input: &[u8], table: &mut FieldTable, limits: &HttpLimits) -> usize {
    let found = head::scan(black_box(input), &mut Scan::default(), limits).unwrap().unwrap();
    let request = head::parse(&input[found], table, limits).unwrap();
    black_box(&request);
    request.fields.len()
}

fn read(input: &[u8], table: &mut FieldTable, limits: &HttpLimits) -> usize {
    let mut request = RequestHead::default();
    let len = head::read(black_box(input), &mut Scan::default(), table, limits, &mut request).unwrap().unwrap();
    black_box(&request);
    len
}

fn scan_only(input: &[u8], limits: &HttpLimits) -> usize {
    head::scan(black_box(input), &mut Scan::default(), limits).unwrap().unwrap().end
}

/// The tokens alone, without any judgement of them.
fn httparse_only(input: &[u8]) -> usize {
    let mut headers = [const { MaybeUninit::uninit() }; 128];
    let mut request = httparse::Request::new(&mut []);
    request.parse_with_uninit_headers(black_box(input), &mut headers).unwrap();
    black_box(&request);
    request.headers.len()
}

fn answer(prepared: &Prepared, dates: &mut DateCache, out: &mut [u8]) -> usize {
    let template = black_box(prepared).small(Connection::Persist).unwrap();
    template.write(dates.at(black_box(1_700_000_000)), black_box(out)).unwrap()
}

fn hello() -> Prepared {
    Prepared::new(200, &[("Content-Type".into(), "text/plain".into())], Arc::from(*b"hello\n")).unwrap()
}

fn run_case(case: &str, count: usize) {
    let (limits, mut table) = (HttpLimits::default(), FieldTable::default());
    let (prepared, mut dates, mut out) = (hello(), DateCache::default(), [0; 4096]);
    for _ in 0..count {
        black_box(match case {
            "short" => read(SHORT, &mut table, &limits),
            "browser" => read(BROWSER, &mut table, &limits),
            "short-in-pieces" => scan_and_parse(SHORT, &mut table, &limits),
            "browser-in-pieces" => scan_and_parse(BROWSER, &mut table, &limits),
            "short-scan" => scan_only(SHORT, &limits),
            "browser-scan" => scan_only(BROWSER, &limits),
            "short-httparse" => httparse_only(SHORT),
            "browser-httparse" => httparse_only(BROWSER),
            "answer" => answer(&prepared, &mut dates, &mut out),
            other => panic!("no case {other}"),
        });
    }
}

fn criterion_benches() {
    let mut criterion = Criterion::default().configure_from_args();
    let limits = HttpLimits::default();
    for (name, input) in [("short", SHORT), ("browser", BROWSER)] {
        let mut group = criterion.benchmark_group(format!("http_parser/{name}"));
        group.throughput(Throughput::Bytes(input.len() as u64));
        let mut table = FieldTable::default();
        group.bench_function("read", |b| b.iter(|| read(input, &mut table, &limits)));
        group.bench_function("scan_and_parse", |b| b.iter(|| scan_and_parse(input, &mut table, &limits)));
        group.bench_function("scan", |b| b.iter(|| scan_only(input, &limits)));
        group.bench_function("httparse", |b| b.iter(|| httparse_only(input)));
        group.finish();
    }
    let (prepared, mut dates, mut out) = (hello(), DateCache::default(), [0; 4096]);
    criterion.bench_function("http_response/prepared", |b| b.iter(|| answer(&prepared, &mut dates, &mut out)));
    criterion.final_summary();
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().position(|arg| arg == "--instructions") {
        Some(at) => run_case(&args[at + 1], args[at + 2].parse().expect("a count")),
        None => criterion_benches(),
    }
}
