/** Parses a YAML manifest in pieces. */
import { YAMLException } from 'js-yaml'
import { messageOf } from '../../model/error.ts'
import { maxListDepth, membersOf } from '../decode/decode.ts'
import { objectSpans, parseJson } from './parse-json.ts'
import { countLines, maxObjectLength, type RawObject, type Step, SyntaxFault } from './raw-object.ts'
import { loadYaml, type YamlDocument } from './yaml.ts'

/**
 * The objects of a YAML text, one by one. The text is parsed one document at a time, and a list printed by kubectl one object
 * at a time: a whole cluster takes more than a second, and this lets the caller pause in between.
 */
export function* parseYaml(text: string): Generator<Step> {
  for (const piece of splitDocuments(text)) {
    yield undefined
    if ((yield* parseKubectlList(piece)) || (yield* parseFlow(piece))) continue
    yield* parsePiece(piece)
  }
}

interface Piece {
  readonly text: string
  /** The line of its first character in the file, from 1. */
  readonly line: number
}

/**
 * Splits at lines that begin with `---` or `...`, which YAML allows only as markers, even within quotes. Directives belong to
 * the marker that follows, so a text with directives is not split.
 */
function* splitDocuments(text: string): Generator<Piece> {
  if (/(?<![^\n\r])%/.test(text)) return yield { text, line: 1 }
  yield* splitAt(/(?<![^\n\r])(?:---|\.\.\.)(?=[ \t\r\n]|$)/g, { text, line: 1 })
}

/** A list in block style: its members begin with a dash in one column. Comments and blank lines may be before the first. */
const openingOfItems = /(?<![^\n\r])items:[ \t]*(?:#.*)?\r?\n(?:[ \t]*(?:#.*)?\r?\n)*(?<indent> *)(?=- )/

/**
 * `kubectl get -o yaml` starts every object of a list with `-` in the first column, others indent it: an object itself has only spaces
 * up to there. Returns false for any other text, and for one with anchors, since an object may refer to another's.
 */
function* parseKubectlList({ text, line }: Piece): Generator<Step, boolean> {
  const opening = openingOfItems.exec(text)
  if (!opening || /[\s[{,][&*][^\s]/.test(text)) return false
  yield undefined
  const indent = opening.groups?.indent?.length ?? 0
  const start = opening.index + opening[0].length - indent
  const end = endOfItems(text, start, indent)
  // Blank lines replace the items, so that a fault after them is reported at its own line.
  const blank = '\n'.repeat(countLines(text, opening.index, end) - 1)
  yield undefined
  const [frame] = load({ text: `${text.slice(0, opening.index)}items: []\n${blank}${text.slice(end)}`, line })
  if (!membersOf(frame?.value)) return false
  const items = { text: text.slice(start, end), line: line + countLines(text, 0, start) }
  yield* parseItems(frame?.value as object, items, indent)
  return true
}

/** Where the first line begins, from `start` on, that is neither a member nor part of one, nor blank, nor a comment. */
function endOfItems(text: string, start: number, indent: number): number {
  for (let at = start; at < text.length; at = endOfLine(text, at) + 1) {
    let column = 0
    while (column < indent && text[at + column] === ' ') column++
    const first = text[at + column]
    if (first === undefined || first === '\n' || first === '\r' || first === '#' || first === '\t') continue
    if (column < indent) return at
    if (first === ' ' || (first === '-' && /\s|^$/.test(text[at + column + 1] ?? ''))) continue
    return at
  }
  return text.length
}

function* parseItems(list: object, items: Piece, indent: number): Generator<RawObject> {
  const marker = new RegExp(`(?<![^\\n\\r]) {${indent}}-(?=[ \\t\\r\\n]|$)`, 'g')
  for (const { text, line } of splitAt(marker, items)) {
    if (!text.startsWith('-', indent)) continue
    const item = { text: `${' '.repeat(indent + 1)}${text.slice(indent + 1)}`, line }
    const [document] = load(item)
    const [value] = membersOf({ ...list, items: [document?.value ?? null] }) ?? []
    yield* unfold({ value, ...item }, 1)
  }
}

/** A document that begins with a brace: JSON, or several JSON objects one after another. Returns false for any other text. */
function* parseFlow({ text, line }: Piece): Generator<Step, boolean> {
  const start = contentStart(text)
  if (text[start] !== '{') return false
  const content = { text: text.slice(start), line: line + countLines(text, 0, start) }
  if (yield* parseJson(content.text, content.line)) return true
  const spans = yield* objectSpans(content.text)
  if (!spans || spans.length < 2) return false
  yield* parseSpans(content, spans)
  return true
}

/** Skips the marker of a document, blank lines and comments. */
function contentStart(text: string): number {
  let at = 0
  while (at < text.length) {
    const end = endOfLine(text, at)
    const column = text.slice(at, end).search(/\S/)
    const start = at + column
    if (column === -1 || text[start] === '#') at = end + 1
    else if (text.startsWith('---', start) && !/\S/.test(text[start + 3] ?? '')) at = start + 3
    else return start
  }
  return text.length
}

function* parseSpans({ text, line }: Piece, spans: readonly { start: number; end: number }[]): Generator<Step> {
  let counted = 0
  for (const { start, end } of spans) {
    line += countLines(text, counted, start)
    counted = start
    const piece = { text: text.slice(start, end), line }
    if (!(yield* parseJson(piece.text, line))) yield* parsePiece(piece)
  }
}

function* parsePiece(piece: Piece): Generator<RawObject> {
  for (const document of load(piece)) {
    if (document.value === null) continue
    const [raw] = cut(piece, [document.locate([])], [document.value])
    const members = membersOf(document.value)
    if (members) for (const member of cut(piece, document.locateMembers('items'), members)) yield* unfold(member, 1)
    else if (raw) yield raw
  }
}

/** The members of a list that is in another list. Its text is parsed a second time, for the lines. */
function* unfold(raw: RawObject, depth: number): Generator<RawObject> {
  const members = depth < maxListDepth ? membersOf(raw.value) : undefined
  if (!members) return yield raw
  for (const member of cut(raw, memberOffsets(raw.text), members)) yield* unfold(member, depth + 1)
}

/** None when the text was cut out of flow style and is not valid by itself: all members have the line of their list then. */
function memberOffsets(text: string): readonly number[] {
  try {
    return loadYaml(text)[0]?.locateMembers('items') ?? []
  } catch {
    return []
  }
}

/** The text of each value: from its offset, with its indentation, to the line where the next value begins. */
function* cut(piece: Piece, offsets: readonly number[], values: readonly unknown[]): Generator<RawObject> {
  let { line } = piece
  let lineStart = 0
  let lineEnd = endOfLine(piece.text, 0)
  for (const [i, value] of values.entries()) {
    const start = offsets[i] ?? lineStart
    while (lineEnd < start) {
      line++
      lineStart = lineEnd + 1
      lineEnd = endOfLine(piece.text, lineStart)
    }
    const rest = piece.text.slice(start, offsets[i + 1])
    const own = i + 1 < offsets.length ? rest.slice(0, rest.lastIndexOf('\n') + 1) : rest
    const column = Math.min(start - lineStart, maxColumn)
    yield { value, line, text: `${' '.repeat(column)}${own}` }
  }
}

function endOfLine(text: string, from: number): number {
  const end = text.indexOf('\n', from)
  return end === -1 ? text.length : end
}

/** Deeper than any real indentation; flow style may be further to the right. */
const maxColumn = 200

function* splitAt(marker: RegExp, { text, line }: Piece): Generator<Piece> {
  let start = 0
  for (const { index } of text.matchAll(marker)) {
    yield { text: text.slice(start, index), line }
    line += countLines(text, start, index)
    start = index
  }
  yield { text: text.slice(start), line }
}

function load({ text, line }: Piece): YamlDocument[] {
  if (text.length > maxObjectLength) {
    const why = `a document of ${text.length} characters is not parsed, more than ${maxObjectLength}, unless it is a list in block style`
    throw new SyntaxFault(`${why}; separate its objects by lines of ---`, line)
  }
  try {
    return loadYaml(text)
  } catch (error) {
    if (error instanceof YAMLException) throw new SyntaxFault(error.reason, line + (error.mark?.line ?? 0))
    throw new SyntaxFault(messageOf(error), line)
  }
}
