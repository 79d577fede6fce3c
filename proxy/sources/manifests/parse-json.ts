/** Parses a JSON manifest. */
import { membersOf } from '../decode/decode.ts'
import { countLines, type RawObject } from './raw-object.ts'

/** One object, or the members of a list; undefined when the text is not JSON. */
export function parseJson(text: string): Iterable<RawObject> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    const members = membersOf(value)
    return members
      ? cutItems(text, members)
      : [{ value, line: 1 + countLines(text, 0, text.indexOf('{')), text: text.trimStart() }]
  } catch {
    return undefined
  }
}

function* cutItems(text: string, members: readonly unknown[]): Generator<RawObject> {
  const spans = itemSpans(text)
  const all = { start: 0, end: text.length }
  let line = 1
  let counted = 0
  for (const [i, value] of members.entries()) {
    const { start, end } = (spans.length === members.length && spans[i]) || all
    line += countLines(text, counted, start)
    counted = start
    yield { value, line, text: text.slice(start, end) }
  }
}

/** The spans of the members of the root's `items` in valid JSON. Scalars among them are not found. */
function itemSpans(text: string): { start: number; end: number }[] {
  const spans: { start: number; end: number }[] = []
  let depth = 0
  let key = ''
  let inItems = false
  let start = 0
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]+|\\.)*"|[[\]{}]/g)) {
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
