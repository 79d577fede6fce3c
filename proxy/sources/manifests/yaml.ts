/**
 * Parses YAML with js-yaml, which is ten times as fast as `yaml` on the files of a large cluster, and takes linear time for any
 * input (keys, depth, open brackets). Its events have the offset of each value.
 */
import { constructFromEvents, EVENT_ID, type Event, getScalarValue, parseEvents } from 'js-yaml'
import type { Path } from '../../config/fields.ts'
import { kubectlSchema } from './kubectl-schema.ts'

/** The maximum number of nodes with aliases expanded: `times` the nodes in the text, plus `more`. */
const maxUnfolding = { times: 10, more: 10_000 }

/**
 * All documents of a text; an empty document is null. Of a key that occurs twice the last value counts, as in kubectl. Throws
 * YAMLException, or an Error without a line.
 */
export function loadYaml(text: string): YamlDocument[] {
  const events = parseEvents(text, {})
  if (unfoldedSize(events, text) > maxUnfolding.times * events.length + maxUnfolding.more) {
    throw new Error('its aliases expand to many times its size; write the values out')
  }
  const values = constructFromEvents(events, { source: text, schema: kubectlSchema, json: true })
  const roots = events.flatMap((event, i) => (event.type === EVENT_ID.DOCUMENT ? [i + 1] : []))
  return values.map((value, i) => new YamlDocument(value, text, events, roots[i] ?? 0))
}

export class YamlDocument {
  readonly value: unknown
  readonly #text: string
  readonly #events: readonly Event[]
  /** A node is the index of its first event. */
  readonly #root: number

  constructor(value: unknown, text: string, events: readonly Event[], root: number) {
    this.value = value
    this.#text = text
    this.#events = events
    this.#root = root
  }

  /** The offset of the value at a path, or of the nearest parent that exists. */
  locate(path: Path): number {
    let node = this.#root
    for (const step of path) {
      const next = typeof step === 'number' ? this.#children(node)[step] : this.#entry(node, step)
      if (next === undefined) break
      node = next
    }
    return this.#offset(node)
  }

  /** The offsets of the members of the sequence under a key of the root. */
  locateMembers(key: string): number[] {
    const sequence = this.#entry(this.#root, key)
    return sequence === undefined ? [] : this.#children(sequence).map(node => this.#offset(node))
  }

  #entry(mapping: number, key: string): number | undefined {
    const nodes = this.#children(mapping)
    for (let i = 0; i < nodes.length; i += 2) {
      const event = this.#events[nodes[i] ?? 0]
      if (event?.type === EVENT_ID.SCALAR && getScalarValue(this.#text, event) === key) return nodes[i + 1]
    }
    return undefined
  }

  /** The members of a sequence, or the keys and values of a mapping alternately. */
  #children(node: number): number[] {
    const nodes: number[] = []
    if (!opens(this.#events[node])) return nodes
    for (let child = node + 1; this.#events[child]?.type !== EVENT_ID.POP; child = this.#after(child)) nodes.push(child)
    return nodes
  }

  #after(node: number): number {
    let depth = 0
    let next = node
    do {
      const event = this.#events[next++]
      if (opens(event)) depth++
      else if (event?.type === EVENT_ID.POP) depth--
    } while (depth > 0)
    return next
  }

  /** An empty value has no offset of its own; its key's is used. */
  #offset(node: number): number {
    const event = this.#events[node]
    if (event === undefined || event.type === EVENT_ID.DOCUMENT || event.type === EVENT_ID.POP) return 0
    const own =
      event.type === EVENT_ID.SCALAR
        ? event.valueStart
        : event.type === EVENT_ID.ALIAS
          ? event.anchorStart
          : event.start
    return own >= 0 ? own : this.#offset(node - 1)
  }
}

function opens(event: Event | undefined): boolean {
  return event?.type === EVENT_ID.MAPPING || event?.type === EVENT_ID.SEQUENCE || event?.type === EVENT_ID.DOCUMENT
}

/** The number of nodes with every alias expanded; infinite if one contains itself. */
function unfoldedSize(events: readonly Event[], text: string): number {
  if (!events.some(({ type }) => type === EVENT_ID.ALIAS)) return events.length
  const sizes = new Map<string, number>()
  let at = 0
  const sizeOfNext = (): number => {
    const event = events[at++]
    if (event === undefined || event.type === EVENT_ID.POP) return 0
    const anchor = 'anchorStart' in event ? text.slice(event.anchorStart, event.anchorEnd) : ''
    if (event.type === EVENT_ID.ALIAS) return sizes.get(anchor) ?? 1
    let size = 1
    if (opens(event)) {
      if (anchor !== '') sizes.set(anchor, Number.POSITIVE_INFINITY)
      while (at < events.length && events[at]?.type !== EVENT_ID.POP) size += sizeOfNext()
      at++
    }
    if (anchor !== '') sizes.set(anchor, size)
    return size
  }
  let total = 0
  while (at < events.length) total += sizeOfNext()
  return total
}
