import FederationModel
import Testing

@testable import WorkflowCore

/// `sprig.*` as Argo offers it.
@Suite("sprig")
struct SprigTests {
  private func check(_ rows: [(String, String)]) {
    for (expression, expected) in rows {
      do {
        let result = try ExprLangTests.text("sprig." + expression)
        #expect(result == expected, "\(expression)")
      } catch {
        Issue.record("\(expression): \(error)")
      }
    }
  }

  @Test("Texts")
  func texts() {
    check([
      ("trim('  x ')", "x"), ("trimAll('$', '$5$')", "5"), ("trimPrefix('a', 'ab')", "b"),
      ("trimSuffix('b', 'ab')", "a"),
      ("upper('a')", "A"), ("title('hello world')", "Hello World"), ("untitle('Hello World')", "hello world"),
      ("repeat(3, 'ab')", "ababab"), ("substr(0, 5, 'hello world')", "hello"), ("substr(2, -1, 'hello')", "llo"),
      ("nospace('h e l l o')", "hello"), ("trunc(5, 'hello world')", "hello"), ("trunc(-5, 'hello world')", "world"),
      ("abbrev(5, 'hello world')", "he..."), ("abbrevboth(5, 10, '1234 5678 9123')", "...5678..."),
      ("initials('First Try')", "FT"), ("wrap(10, 'a very long line of text')", "a very\nlong line\nof text"),
      ("wrapWith(5, '|', 'Hello World')", "Hello|World"), ("contains('cat', 'catch')", "true"),
      ("hasPrefix('c', 'cat')", "true"),
      ("quote('a\"b', 1)", "\"a\\\"b\" \"1\""), ("squote('a')", "'a'"), ("cat('a', nil, 1)", "a 1"),
      ("indent(2, 'a\\nb')", "  a\n  b"),
      ("nindent(2, 'a')", "\n  a"), ("replace(' ', '-', 'a b c')", "a-b-c"), ("plural('one', 'many', 2)", "many"),
      ("snakecase('FirstName')", "first_name"), ("camelcase('http_server')", "HttpServer"),
      ("kebabcase('FirstName')", "first-name"),
      ("swapcase('This Is')", "tHIS iS"), ("toString(1.5)", "1.5"), ("join('-', [1, 'a'])", "1-a"),
      ("splitList('$', 'a$b')", #"["a","b"]"#),
      ("split('$', 'a$b')._1", "b"), ("splitn('$', 2, 'a$b$c')._1", "b$c"), ("toStrings([1, 2])", #"["1","2"]"#),
    ])
  }

  @Test("Numbers: what is none counts as 0")
  func numbers() {
    check([
      ("add(1, 2, '3')", "6"), ("add1(1)", "2"), ("sub(5, 2)", "3"), ("mul(2, 3, 4)", "24"), ("div(7, 2)", "3"),
      ("mod(7, 3)", "1"),
      ("max(1, 5, 2)", "5"), ("min('x', 3)", "0"), ("floor(1.9)", "1"), ("ceil(1.1)", "2"),
      ("round(123.555555, 3)", "123.556"),
      ("addf(0.1, 0.2)", "0.3"), ("subf(7.5, 2)", "5.5"), ("mulf(1.5, 2)", "3"), ("divf(10, 4)", "2.5"),
      ("maxf(1.5, 2)", "2"),
      ("until(3)", "[0,1,2]"), ("untilStep(3, 10, 3)", "[3,6,9]"), ("seq(5)", "1 2 3 4 5"),
      ("seq(0, 2, 10)", "0 2 4 6 8 10"),
      ("seq(2, -1)", "2 1 0 -1"), ("atoi('12')", "12"), ("atoi('x')", "0"), ("int64('12.0')", "12"),
      ("float64('1.5')", "1.5"),
      ("toDecimal('777')", "511"), ("int(true)", "1"),
    ])
  }

  @Test("Lists and dictionaries")
  func collections() {
    check([
      ("list(1, 'a')", #"[1,"a"]"#), ("append([1], 2)", "[1,2]"), ("prepend([1], 2)", "[2,1]"), ("first([1, 2])", "1"),
      ("rest([1, 2, 3])", "[2,3]"), ("initial([1, 2, 3])", "[1,2]"), ("last([1, 2])", "2"),
      ("reverse([1, 2])", "[2,1]"),
      ("uniq([1, 1, 2])", "[1,2]"), ("compact([1, 0, '', 'a'])", #"[1,"a"]"#), ("without([1, 2, 3], 1, 3)", "[2]"),
      ("has(4, [1, 4])", "true"),
      ("slice([1, 2, 3, 4], 1, 3)", "[2,3]"), ("concat([1], [2])", "[1,2]"), ("chunk(2, [1, 2, 3])", "[[1,2],[3]]"),
      ("sortAlpha(['b', 'a', 3])", #"["3","a","b"]"#), ("dict('a', 1, 'b')", #"{"a":1,"b":""}"#),
      ("get({a: 1}, 'b') == ''", "true"),
      ("set({a: 1}, 'b', 2)", #"{"a":1,"b":2}"#), ("unset({a: 1, b: 2}, 'a')", #"{"b":2}"#),
      ("hasKey({a: 1}, 'a')", "true"),
      ("pluck('a', {a: 1}, {a: 2}, {b: 3})", "[1,2]"), ("keys({b: 1, a: 2})", #"["a","b"]"#),
      ("pick({a: 1, b: 2}, 'a')", #"{"a":1}"#),
      ("omit({a: 1, b: 2}, 'a')", #"{"b":2}"#), ("values({a: 1, b: 2})", "[1,2]"),
      ("dig('a', 'b', 'none', {a: {b: 1}})", "1"),
      ("dig('a', 'c', 'none', {a: {b: 1}})", "none"),
      ("merge({a: 1, n: {x: 1}}, {a: 2, b: 3, n: {y: 2}})", #"{"a":1,"b":3,"n":{"x":1,"y":2}}"#),
      ("mergeOverwrite({a: 1}, {a: 2})", #"{"a":2}"#),
    ])
  }

  @Test("Defaults, kinds and codings")
  func others() {
    check([
      ("default('d', '')", "d"), ("default('d', 'x')", "x"), ("default('d')", "d"), ("empty([])", "true"),
      ("coalesce('', nil, 'a')", "a"),
      ("all(1, 'a')", "true"), ("any(0, '')", "false"), ("ternary('y', 'n', true)", "y"), ("typeOf(1.5)", "float64"),
      ("kindOf([1])", "slice"),
      ("kindIs('map', {})", "true"), ("deepEqual([1], [1])", "true"), ("toJson({a: 1})", #"{"a":1}"#),
      ("fromJson('[1]')", "[1]"),
      ("b64enc('héllo!')", "aMOpbGxvIQ=="), ("b64dec('aMOpbGxvIQ==')", "héllo!"), ("b32enc('ab')", "MFRA===="),
      ("b32dec('MFRA====')", "ab"),
      ("adler32sum('Wikipedia')", "300286872"), ("sha1sum('abc')", "a9993e364706816aba3e25717850c26c9cd0d89d"),
      ("sha256sum('abc')", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
      (
        "sha512sum('abc')",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
      ),
    ])
  }

  @Test("Moments, regular expressions, paths, URLs and versions")
  func formats() {
    check([
      ("date('2006-01-02', now())", "2026-11-22"), ("date('15:04', 0)", "00:00"),
      ("dateInZone('2006-01-02', 86400, 'UTC')", "1970-01-02"),
      ("dateModify('-1h', now()).Hour()", "7"), ("unixEpoch(now())", "1795334400"), ("duration('95')", "1m35s"),
      ("durationRound('2h10m5s')", "2h"),
      ("toDate('2006-01-02', '2026-01-02').Day()", "2"), ("ago(date('2026-11-22'))", "8h0m0s"),
      ("htmlDate(0)", "1970-01-01"),
      ("regexMatch('^[A-Z]+$', 'ABC')", "true"), ("regexFindAll('[2,4,6,8]', '123456789', -1)", #"["2","4","6","8"]"#),
      ("regexFind('[a-zA-Z][1-9]', 'abcd1234')", "d1"), ("regexReplaceAll('a(x*)b', '-ab-axxb-', '${1}W')", "-W-xxW-"),
      ("regexReplaceAllLiteral('a(x*)b', '-ab-axxb-', '${1}')", "-${1}-${1}-"),
      ("regexSplit('z+', 'pizza', -1)", #"["pi","a"]"#),
      ("regexQuoteMeta('1.2.3')", "1\\.2\\.3"), ("base('foo/bar/baz')", "baz"), ("dir('foo/bar/baz')", "foo/bar"),
      ("clean('foo/../bar')", "bar"),
      ("ext('foo.tar.gz')", ".gz"), ("isAbs('/a')", "true"),
      ("urlParse('http://u:p@h.org:80/a?x=1#f').host", "h.org:80"),
      ("urlJoin({scheme: 'http', host: 'h', path: '/p', query: 'q', fragment: 'f'})", "http://h/p?q#f"),
      ("semverCompare('^1.2.0', '1.9.3')", "true"), ("semverCompare('^1.2.0', '2.0.0')", "false"),
      ("semverCompare('~1.2', '1.2.9')", "true"),
      ("semverCompare('>=1.2, <2 || 3.x', '3.4.5')", "true"), ("semverCompare('1.2 - 1.4', '1.5.0')", "false"),
      ("semverCompare('>1.0', '1.1.0-beta')", "false"),
      ("semver('v1.2.3-rc.1').Major()", "1"), ("semver('1.2').Patch", "0"),
    ])
  }

  @Test(
    "What makes secrets or asks the network or the environment is refused by name",
    arguments: ExpressionEvaluator.sprigRefused.sorted())
  func refused(name: String) {
    let error = #expect(throws: FederationError.self) { try ExprLangTests.text("sprig.\(name)('a')") }
    #expect(error?.publicMessage.contains("sprig.\(name) is not offered") == true)
  }

  @Test("Every function of sprig's is there or refused", arguments: Self.all)
  func complete(name: String) {
    do { _ = try ExprLangTests.text("sprig.\(name)()") } catch {
      #expect(!"\(error)".contains("there is no function"), "\(name): \(error)")
    }
  }

  /// `genericMap` of sprig v3.3.0.
  static let all = """
    hello ago date date_in_zone date_modify dateInZone dateModify duration durationRound htmlDate htmlDateInZone must_date_modify
    mustDateModify mustToDate now toDate unixEpoch abbrev abbrevboth trunc trim upper lower title untitle substr repeat trimall trimAll
    trimSuffix trimPrefix nospace initials randAlphaNum randAlpha randAscii randNumeric swapcase shuffle snakecase camelcase kebabcase wrap
    wrapWith contains hasPrefix hasSuffix quote squote cat indent nindent replace plural sha1sum sha256sum sha512sum adler32sum toString atoi
    int64 int float64 seq toDecimal split splitList splitn toStrings until untilStep add1 add sub div mod mul randInt add1f addf subf divf mulf
    biggest max min maxf minf ceil floor round join sortAlpha default empty coalesce all any compact mustCompact fromJson toJson toPrettyJson
    toRawJson mustFromJson mustToJson mustToPrettyJson mustToRawJson ternary deepCopy mustDeepCopy typeOf typeIs typeIsLike kindOf kindIs
    deepEqual getHostByName base dir clean ext isAbs osBase osClean osDir osExt osIsAbs b64enc b64dec b32enc b32dec tuple list dict get set
    unset hasKey pluck keys pick omit merge mergeOverwrite mustMerge mustMergeOverwrite values append push mustAppend mustPush prepend
    mustPrepend first mustFirst rest mustRest last mustLast initial mustInitial reverse mustReverse uniq mustUniq without mustWithout has
    mustHas slice mustSlice concat dig chunk mustChunk bcrypt htpasswd genPrivateKey derivePassword buildCustomCert genCA genCAWithKey
    genSelfSignedCert genSelfSignedCertWithKey genSignedCert genSignedCertWithKey encryptAES decryptAES randBytes uuidv4 semver semverCompare
    fail regexMatch mustRegexMatch regexFindAll mustRegexFindAll regexFind mustRegexFind regexReplaceAll mustRegexReplaceAll
    regexReplaceAllLiteral mustRegexReplaceAllLiteral regexSplit mustRegexSplit regexQuoteMeta urlParse urlJoin
    """.split(whereSeparator: \.isWhitespace).map(String.init)
}
