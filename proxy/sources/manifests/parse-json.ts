/** Parses JSON manifests. */
import { ListScanner } from '../../clients/kubernetes/list-scanner.ts'
import { messageOf } from '../../model/error.ts'
import { maxListDepth, membersOf } from '../decode/decode.ts'
import { countLines, maxObjectLength, type RawObject, type Step, SyntaxFault } from './raw-object.ts'

/** A text longer than this is parsed object by object, if it is a list. */
const largeLength = 256 << 10
const chunkBytes = 64 << 10
/** Brackets that are looked at between two pauses. */
const stepTokens = 20_000

interface Span {
  readonly start: number
  readonly end: number
}

/** One object, or the members of a list. Returns false when the text is not JSON: no object has been yielded then. `line`: where it begins. */
export function* parseJson(text: string, line: number): Generator<Step, boolean> {
  if (text.length > largeLength && (yield* parseLargeList(text, line))) return true
  return yield* parseWhole(text, line)
}

/** False if the text does not begin as a list. */
function* parseLargeList(text: string, line: number): Generator<Step, boolean> {
  // kubectl prints the kind after the items.
  const [kind] = [text.slice(0, 1000), text.slice(-1000)].flatMap(
    part => /"kind"\s*:\s*"(\w*)List"/.exec(part)?.[1] ?? [],
  )
  if (kind === undefined) return false
  const bytes = Buffer.from(text)
  let isList = false
  try {
    // The API leaves the kind of the members out of a list with a kind of its own; the list may say it at its end.
    const list = kind === '' ? {} : { ...(yield* frameOf(bytes)), items: [] }
    for (const object of scan(bytes, line, list)) {
      isList ||= object !== undefined
      yield object
    }
  } catch (error) {
    if (isList) throw error
  }
  return isList
}

/** The list without its members. */
function* frameOf(bytes: Buffer): Generator<undefined, object> {
  const scanner = new ListScanner('', { isCounted: false })
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    scanner.push(bytes.subarray(at, at + chunkBytes))
    yield undefined
  }
  return JSON.parse(Buffer.from(scanner.frame, 'latin1').toString('utf8')) as object
}

/** `list`: what the kind of the members is taken from. */
function* scan(bytes: Buffer, firstLine: number, list: object): Generator<Step> {
  const scanner = new ListScanner('', { isCounted: false })
  let line = firstLine
  try {
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      for (const object of scanner.push(bytes.subarray(at, at + chunkBytes))) {
        line = firstLine + object.line - 1
        const parsed: unknown = JSON.parse(object.text)
        const [value] = membersOf({ ...list, items: [parsed] }) ?? [parsed]
        yield* unfold({ value, line, text: object.text }, 1)
      }
      yield undefined
    }
    // More than one where JSON documents follow each other.
    const frame = Buffer.from(scanner.frame, 'latin1').toString('utf8')
    for (const { start, end } of (yield* objectSpans(frame)) ?? [{ start: 0, end: frame.length }]) {
      const text = frame.slice(start, end)
      const value: unknown = JSON.parse(text)
      if (!membersOf(value)) yield { value, line, text }
    }
  } catch (error) {
    throw new SyntaxFault(messageOf(error), line)
  }
}

function* parseWhole(text: string, line: number): Generator<Step, boolean> {
  if (text.length > maxObjectLength) return false
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return false
  }
  const start = /\S/.exec(text)?.index ?? 0
  yield* unfold({ value, line: line + countLines(text, 0, start), text: text.slice(start) }, 0)
  return true
}

/** The members of a list, and of the lists in it. */
function* unfold(raw: RawObject, depth: number): Generator<RawObject> {
  const members = depth < maxListDepth ? membersOf(raw.value) : undefined
  if (!members) return yield raw
  const spans = itemSpans(raw.text)
  const all = { start: 0, end: raw.text.length }
  let { line } = raw
  let counted = 0
  for (const [i, value] of members.entries()) {
    const { start, end } = (spans.length === members.length && spans[i]) || all
    line += countLines(raw.text, counted, start)
    counted = start
    yield* unfold({ value, line, text: raw.text.slice(start, end) }, depth + 1)
  }
}

/** Takes linear time also where a quote is not closed. */
const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{}]/g

/** The spans of the members of the root's `items` in valid JSON. Scalars among them are not found. */
function itemSpans(text: string): Span[] {
  const spans: Span[] = []
  let depth = 0
  let key = ''
  let inItems = false
  let start = 0
  for (const { 0: token, index } of text.matchAll(tokens)) {
    if (token === '{' || token === '[') {
      depth++
      if (depth === 2) inItems = token === '[' && key === '"items"'
      if (depth === 3) start = index
    } else if (token === '}' || token === ']') {
      if (depth === 3 && inItems) spans.push({ start, end: index + 1 })
      depth--
    } else if (depth === 1) {
      key = token
    }
  }
  return spans
}

/**
 * The spans of JSON objects that follow each other, as jq prints them and kubectl reads them. Undefined when the text has
 * something else between them.
 */
export function* objectSpans(text: string): Generator<undefined, Span[] | undefined> {
  const spans: Span[] = []
  let depth = 0
  let start = 0
  let end = 0
  let seen = 0
  for (const { 0: token, index } of text.matchAll(tokens)) {
    if (++seen % stepTokens === 0) yield undefined
    if (token === '{' || token === '[') {
      if (depth++ > 0) continue
      if (token === '[' || /\S/.test(text.slice(end, index))) return undefined
      start = index
    } else if (token === '}' || token === ']') {
      if (--depth > 0) continue
      end = index + 1
      spans.push({ start, end })
    }
  }
  return depth === 0 && !/\S/.test(text.slice(end)) ? spans : undefined
}
