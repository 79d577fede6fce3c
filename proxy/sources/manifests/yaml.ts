/**
 * YAML by js-yaml, which reads the large files of a cluster ten times as fast as `yaml` and in linear time whatever they
 * hold (keys, depth, open brackets). Its events tell where in the text each value stands.
 */
import {
  CORE_SCHEMA,
  constructFromEvents,
  defineScalarTag,
  EVENT_ID,
  type Event,
  getScalarValue,
  mergeTag,
  parseEvents,
} from 'js-yaml'
import type { Path } from '../../config/fields.ts'

/**
 * Copies each text out of the file: a piece of it would keep the whole file in memory, and one service that stays the same
 * while the file is edited would so keep every version.
 */
const copiedText = defineScalarTag('tag:yaml.org,2002:str', {
  resolve: source => ` ${source}`.slice(1),
  identify: value => typeof value === 'string',
})

/** YAML 1.2 with its core types, and the merge key `<<`, which kubectl knows too. */
const schema = CORE_SCHEMA.withTags(mergeTag, copiedText)

/** How many nodes a text may have with its aliases written out, as a multiple of those it has, and besides. */
const maxUnfolding = { times: 10, more: 10_000 }

/** All documents of a text; an empty one is null. Throws YAMLException, or an Error without a place. */
export function loadYaml(text: string): YamlDocument[] {
  const events = parseEvents(text, {})
  if (unfoldedSize(events, text) > maxUnfolding.times * events.length + maxUnfolding.more) {
    throw new Error('its aliases unfold to many times its size; write out what they stand for')
  }
  const values = constructFromEvents(events, { source: text, schema })
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

  /** Offset in the text of the value at a path, or of the nearest above it that is there. */
  locate(path: Path): number {
    let node = this.#root
    for (const step of path) {
      const next = typeof step === 'number' ? this.#children(node)[step] : this.#entry(node, step)
      if (next === undefined) break
      node = next
    }
    return this.#offset(node)
  }

  /** Offsets of the members of the sequence under a key of the root. */
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

  /** Members of a sequence; keys and values of a mapping in turn. */
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

  /** A value left empty has no place of its own: then it is that of its key. */
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

/** How many nodes there are with every alias written out; infinite where one contains itself. */
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
