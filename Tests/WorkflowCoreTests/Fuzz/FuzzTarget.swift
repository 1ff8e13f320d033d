import FederationModel

@testable import WorkflowCore

/// What is fed with inputs that nobody would write: each input is made from a seed by putting pieces of the language together, and by
/// mutating texts that mean something.
enum FuzzTarget: String, CaseIterable, Sendable {
  case document, expression, when, tags, cron, jsonpath, regex, timezone

  /// Does with `input` what a workflow could make the leader do. Errors are answers; only a crash, a hang or growth is a fault.
  func run(_ input: String) {
    switch self {
    case .document: _ = try? WorkflowDefinition.decode(Array(input.utf8))
    case .expression:
      let variables = [
        "list": "[1,2,3]", "inputs.parameters.n": "3", "inputs.parameters": #"[{"name":"n","value":"3"}]"#,
      ]
      let moment = ExpressionMoment(now: Timestamp(milliseconds: 1_795_334_400_000), seed: 1)
      _ = try? ExprLang.evaluate(input, at: moment) { variables[$0] }.text()
    case .when: _ = try? WhenExpression.evaluate(input)
    case .tags: _ = try? Tags.substitute(input) { $0.utf8.count % 3 == 0 ? .absent : .text("{{x}} \"1\"") }
    case .cron:
      guard let schedule = try? CronSchedule(input, zone: { _ in Self.zone }) else { return }
      let start = Timestamp(milliseconds: 1_774_700_000_000)
      _ = schedule.next(after: start)
      _ = schedule.last(after: start, through: start + .seconds(10_000_000), countingFrom: start)
    case .jsonpath:
      _ = try? KubectlPath.text(input, of: Self.sample.json)
      guard var path = try? JSONPath(input) else { return }
      _ = try? path.query(Self.sample)
    case .regex:
      guard let regex = try? GoRegex(input) else { return }
      var budget = 100_000
      _ = try? regex.matches("aaaaaaaaaaaaaaaaaaaa 2026-11-22 Ünïcode_x\n.b", budget: &budget)
      _ = try? regex.replacingAll(in: "abcabc", with: "$1-${x}", isLiteral: false, limit: 1 << 16, budget: &budget)
    case .timezone:
      guard let zone = try? TimeZoneRules(tzif: Array(input.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) }))
      else { return }
      for second in [Int64.min / 4, -1, 1_774_700_000, Int64.max / 4] {
        _ = zone.second(ofLocal: zone.period(at: second).offset &+ second)
      }
    }
  }

  private static let zone = try! TimeZoneRules(tzif: TestZones.file(footer: "EET-2EEST,M3.5.0/0,M10.5.0/0"))
  private static let sample = ExprValue(
    try! JSONText.parse(
      #"{"a": {"b": [1, 2, {"c": "x", "d": [[1], [2]]}]}, "e": [{"f": 1}, {"f": 2, "g": "y"}], "h": "text"}"#))

  /// The next input.
  func input(using random: inout SeededGenerator) -> String {
    let seeds = seeds
    switch Int.random(in: 0..<4, using: &random) {
    case 0: return composed(using: &random)
    case 1: return mutated(seeds.randomElement(using: &random)!, using: &random, most: 2)
    case 2: return mutated(seeds.randomElement(using: &random)!, using: &random, most: 6)
    default:
      // One text's beginning and another's end.
      let (a, b) = (Array(seeds.randomElement(using: &random)!.utf8), Array(seeds.randomElement(using: &random)!.utf8))
      let joined =
        a.prefix(Int.random(in: 0...a.count, using: &random)) + b.suffix(Int.random(in: 0...b.count, using: &random))
      return String(decoding: joined, as: UTF8.self)
    }
  }

  private func composed(using random: inout SeededGenerator) -> String {
    let (pieces, blank) = (pieces, Bool.random(using: &random) ? " " : "")
    let count = Int.random(in: 0..<24, using: &random)
    return (0..<count).map { _ in pieces.randomElement(using: &random)! }.joined(separator: blank)
  }

  private func mutated(_ text: String, using random: inout SeededGenerator, most: Int) -> String {
    var bytes = Array(text.utf8)
    let pieces = pieces
    for _ in 0..<Int.random(in: 1...most, using: &random) {
      let place = Int.random(in: 0...bytes.count, using: &random)
      let end = min(bytes.count, place + Int.random(in: 0...12, using: &random))
      switch Int.random(in: 0..<6, using: &random) {
      case 0 where place < bytes.count: bytes[place] = UInt8.random(in: 0...255, using: &random)
      case 1: bytes.removeSubrange(place..<end)
      case 2: bytes.insert(contentsOf: Array(bytes[place..<end]), at: Int.random(in: 0...bytes.count, using: &random))
      case 3:
        let copy = Array(pieces.randomElement(using: &random)!.utf8)
        for _ in 0..<Int.random(in: 1...40, using: &random) { bytes.insert(contentsOf: copy, at: place) }
      default: bytes.insert(contentsOf: Array(pieces.randomElement(using: &random)!.utf8), at: place)
      }
    }
    // The bytes of a file, not of a text.
    if self == .timezone { return String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) })) }
    return String(decoding: bytes, as: UTF8.self)
  }

  private var pieces: [String] {
    switch self {
    case .document:
      [
        "{{", "}}", "{{item}}", "[", "]", "{", "}", ": ", "- ", "\n", "  ", "&a ", "*a", "<<: *a", "!!str ", "|", ">",
        "\"", "'", "null", "~", "0x", "1e999", "\u{0}", "\u{feff}",
        "depends: ", "a && ", "---\n", "...", "#", "?", "%TAG", "\t", "withItems: ", "when: ", "steps:", "dag:",
      ]
    case .expression, .tags:
      [
        "{{", "}}", "{{=", "1", "0", "-1", "9223372036854775807", "1e308", "'a'", "\"", "'", "`", "(", ")", "[", "]",
        "{", "}", ",", ";", ":", "?", "?.", "??", "!", "not ", "in ", "matches ",
        "contains ", "+", "-", "*", "**", "/", "%", "..", "|", "&&", "||", "==", "<", ">=", "#", "#acc", "#index", ".",
        "let x = ", "x", "if ", "else ", "true", "nil", "list", "list[", "1..1000",
        "map(", "filter(", "reduce(", "sortBy(", "groupBy(", "repeat('ab', ", "join(", "split(", "toJson(", "fromJSON(",
        "jsonpath(", "now()", "date(", "duration('1h')", ".Format(", "sprig.",
        "sprig.regexReplaceAll(", "sprig.repeat(", "sprig.until(", "sprig.dict(", "sprig.merge(", "sprig.trunc(",
        "sprig.semverCompare(", "inputs.parameters", "[0:", "\\", "\\u00", "é", "\u{0}", "item",
      ]
    case .when:
      [
        "==", "!=", "<", ">", "<=", ">=", "=~", "!~", "&&", "||", "!", "(", ")", "'", "\"", "1", "9e9", ".", "[", "]",
        "in", "?", ":", "??", ",", "\\", "é", "-", "*", "**", "%", "<<", "&", "a", "b-c",
        "true", "false", "'2026-01-01'", "^a+$", "0x", "~", "\u{0}",
      ]
    case .cron:
      [
        "*", "/", "-", ",", "?", " ", "0", "5", "59", "60", "1-5", "*/", "jan", "MON", "TZ=", "CRON_TZ=X ", "@every ",
        "@daily", "1h", "-1m", "999999999999", "L", "#", "\t", "é", "\u{0}",
      ]
    case .jsonpath:
      [
        "$", ".", "..", "*", "[", "]", "'", "\"", "a", "b", "0", "-1", ":", ",", "?(", "@", ")", "(@.length-1)",
        "@.f > 1", "==", "\\", "..*", "[*]", "é", "9999999999", "&&", "$.e", "{", "}", "{range ", "{end}", "{.e[*].f}",
        "{'x'}",
      ]
    case .regex:
      [
        "a", "b", "(", ")", "(?:", "(?P<x>", "(?i)", "[", "]", "^", "$", ".", "*", "+", "?", "{2,5}", "{1000}", "|",
        "\\d", "\\b", "\\pL", "[[:alpha:]]", "\\x41", "\\Q", "-", "é", "a-z", "\\",
      ]
    case .timezone:
      [
        "TZif2", "\u{0}", "\u{1}", "\u{7f}", "\n", "CET-1CEST", ",M3.5.0", "<-03>", "/167", ",J60",
        "\u{0}\u{0}\u{0}\u{5}",
      ]
    }
  }

  private var seeds: [String] {
    switch self {
    case .document:
      [
        """
        {apiVersion: argoproj.io/v1alpha1, kind: Workflow, metadata: {generateName: a-}, spec: {entrypoint: main, templates: [
        {name: main, steps: [[{name: a, template: b, when: "{{item}} == 1", withItems: [1, {k: v}], arguments: {parameters: [{name: p, value: "{{item}}"}]}}]]},
        {name: b, inputs: {parameters: [{name: p, default: x}]}, container: {image: busybox, args: ["{{inputs.parameters.p}}", "{{=sprig.trim('x')}}"]}}]}}
        """,
        """
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata: {name: d}
        spec:
          entrypoint: main
          templates:
          - name: main
            dag:
              tasks:
              - {name: a, template: leaf, withSequence: {count: "3", format: "x%02d"}}
              - {name: b, template: leaf, depends: "a.Succeeded || !(a)"}
          - &leaf
            name: leaf
            retryStrategy: {limit: "2", backoff: {duration: 1m}, expression: "lastRetry.exitCode != '1'"}
            script: {image: python, command: [python], source: "print(1)"}
          - {<<: *leaf, name: other}
        """,
      ]
    case .expression:
      [
        "let x = asInt(inputs.parameters.n) + 1; x > 3 ? 'a' : 'b'",
        "map(filter(list, # > 1), {let y = # * 2; y}) | join('-')", "reduce(1..100, #acc + #, 0)",
        "{a: 1, 'b': [1, 2]}.b[1:]",
        "sprig.regexReplaceAll('(a+)b', 'aabab', '${1}x')", "jsonpath('{\"a\": [1, {\"b\": 2}]}', '$..b')",
        "date('2026-01-02').AddDate(0, 1, 0).Format('Jan _2 2006 15:04:05.000 MST -07:00')",
        "(now() - date('2026-11-21')).Seconds() > 30", "groupBy([1, 2, 3], # % 2) | toJson()",
        "sortBy([{n: 2}, {n: 1}], .n, 'desc')", "fromJSON('[1, 2.5, {\"a\": null}]')[2]?.a ?? 'none'",
        "'x' in inputs.parameters && not ('y' in ['a'])", "sprig.merge({a: {b: 1}}, sprig.dict('a', {c: 2}))",
        "if 1 < 2 <= 3 { repeat('ab', 10) } else { nil }", "'abc' matches '^(a|b)*c{1,3}$'",
        "sprig.semverCompare('>=1.2 <2 || ~3.1', '1.4.0')", "string({a: [1.5, true]}) + sprig.wrap(5, 'a b c d e f')",
        "sprig.round(1.2345, 2) ** 3 % 2", "toBase64(fromBase64('YQ=='))[0:1]",
      ]
    case .tags:
      [
        "a {{item}} b", "{{=1 + 1}} {{ x }} {{", "{{={'k': {'l': 2}}}}", "{{inputs.parameters['x']}}}}",
        "{{= '}}' }}{{a{{b}}}}",
      ]
    case .when:
      [
        "a == b && !(c =~ '^d+$') || 1 < 2", "x in ('x', 'y') ? true : false", "'2026-01-01' < '2026-02-01'",
        "(1 + 2 * 3 ** 2) % 4 == -1", "[a b] ?? c == 'd'", "my-branch == v1.2 && 0x10 >> 2 != ~1",
      ]
    case .cron:
      [
        "*/15 0-6,12 1,15 JAN-jun mon", "@every 1h30m", "CRON_TZ=Europe/Berlin 30 2 * * 0", "0 0 29 2 ?",
        "5/20 * */3 * */2",
      ]
    case .jsonpath:
      [
        "$.a.b[0]", "$..f", "$.e[?(@.f > 1 && @.g)].g", "$['a']['b'][0:3:2]", "$.e[0,1].f",
        "$.a.b[(@.length-1)].d[*][0]", "{range .e[*]}{.f}{'-'}{end}{.h}",
      ]
    case .regex:
      [
        "^(a+)+$", "(\\w+)@(?P<host>[a-z.]+)", "(?i:x|y{2,3}?)\\b[^\\d\\s]*", "\\d{4}-(\\d\\d)-\\d\\d",
        "((a?){10}a{10})*", "[[:alpha:]\\pL_-]+?$",
      ]
    case .timezone:
      ["CET-1CEST,M3.5.0,M10.5.0/3", "<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "XXX0YYY,J60/0,300"].map { footer in
        String(String.UnicodeScalarView(TestZones.file(footer: footer).map { Unicode.Scalar($0) }))
      }
    }
  }
}
