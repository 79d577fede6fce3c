/**
 * Parses YAML into a plain tree, resolves aliases and environment variables, and records the line of every value. The
 * library's own `toJS` is not used: it loses the lines and follows aliases without limit.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  type ParsedNode,
  parseDocument,
  type Scalar,
} from 'yaml'
import type { ErrorCode } from '../model/error.ts'
import type { Json } from '../model/text/json.ts'
import { shown, tame } from '../model/text/spelling.ts'
import { type Env, expand } from './expand.ts'
import type { Path } from './fields.ts'

export interface Tree {
  /** Undefined when the text is not YAML, or not a mapping. */
  readonly root: Json | undefined
  readonly faults: readonly TreeFault[]
  /** The line of the key, counted from 1; for a key that is not in the file that of the nearest enclosing value. */
  lineOf(path: Path): number
  /** Whether the path is in the file. */
  has(path: Path): boolean
}

export interface TreeFault {
  readonly code: ErrorCode
  readonly line: number
  readonly path: Path
  readonly message: string
}

/** Limits: nested aliases can expand a small file to a huge one, and the reader is recursive. */
const maxValues = 50_000
const maxDepth = 32

export function readTree(text: string, env: Env): Tree {
  const lines = new LineCounter()
  const document = parsed(text, lines)
  if (!document) {
    const message = 'is nested too deeply'
    return {
      root: undefined,
      faults: [{ code: 'CONF_FILE', line: 1, path: [], message }],
      lineOf: () => 1,
      has: () => false,
    }
  }
  const faults = syntaxFaults(document, text, lines)
  if (faults.length > 0) return { root: undefined, faults, lineOf: () => 1, has: () => false }
  return new Reader(lines, env).read(document.contents)
}

/** Undefined where the text is nested so deeply that the library's recursion ends: it has no limit of its own. */
function parsed(text: string, lineCounter: LineCounter): Document.Parsed | undefined {
  try {
    return parseDocument(text, options(lineCounter))
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

function options(lineCounter: LineCounter) {
  return {
    lineCounter,
    prettyErrors: false,
    stringKeys: true,
    // Checked by the reader below in linear time; the library's own check is quadratic.
    uniqueKeys: false,
    schema: 'core',
    merge: false,
    resolveKnownTags: false,
  } as const
}

/** One per line: further errors on the same line are usually caused by the first. */
function syntaxFaults(document: Document, text: string, lines: LineCounter): TreeFault[] {
  const byLine = new Map<number, TreeFault>()
  for (const { code, message, pos } of [...document.errors, ...document.warnings]) {
    const { line } = lines.linePos(pos[0])
    if (byLine.has(line)) continue
    const said = wordsFor[code] ?? `${tame(message)}${unquotedVariable(text, pos[0])}`
    byLine.set(line, { code: 'CONF_FILE', line, path: [], message: said })
  }
  return [...byLine.values()]
}

const wordsFor: Readonly<Record<string, string>> = {
  MULTIPLE_DOCS: 'contains a second document; keep one, without ---',
  RESOURCE_EXHAUSTION: 'is nested too deeply',
  BLOCK_AS_IMPLICIT_KEY: 'has a mapping after a value; align the key, or quote a value that contains ": "',
  NON_STRING_KEY: 'has a key that is not a plain word',
}

/** Inside `{ }` and `[ ]` YAML takes the braces of a variable as its own syntax. */
function unquotedVariable(text: string, at: number): string {
  const start = text.lastIndexOf('\n', at - 1) + 1
  return text.slice(start, at + 1).includes('${') ? `; quote "\${...}" inside { } and [ ]` : ''
}

class Reader {
  readonly #lines: LineCounter
  readonly #env: Env
  readonly #faults: TreeFault[] = []
  readonly #places = new Map<string, number>()
  readonly #anchors = new Map<string, ParsedNode>()
  #values = 0
  #gaveUp = false

  constructor(lines: LineCounter, env: Env) {
    this.#lines = lines
    this.#env = env
  }

  read(contents: ParsedNode | null): Tree {
    const root = contents === null ? null : this.#value(contents, [], this.#lineAt(contents))
    if (root === null) this.#fault('CONF_FILE', 1, [], 'is empty; give at least `cluster` and `clusters`')
    else if (!isMap(contents))
      this.#fault('CONF_FILE', 1, [], 'is not a mapping of settings; begin with `cluster: NAME`')
    return {
      root: isMap(contents) && !this.#gaveUp ? root : undefined,
      faults: this.#faults,
      lineOf: path => this.#lineOf(path),
      has: path => this.#places.has(placeKey(path)),
    }
  }

  #value(node: ParsedNode | null, path: Path, line: number): Json | undefined {
    if (this.#gaveUp) return undefined
    if (++this.#values > maxValues)
      return this.#giveUp(line, `expands to more than ${maxValues} values; are aliases nested?`)
    if (path.length > maxDepth) return this.#giveUp(line, 'is nested too deeply; does an alias contain itself?')
    this.#places.set(placeKey(path), line)
    if (isAlias(node)) return this.#alias(node.source, path, line)
    if (node?.anchor !== undefined) this.#anchors.set(node.anchor, node)
    if (isMap<ParsedNode, ParsedNode | null>(node)) return this.#table(node.items, path)
    if (isSeq<ParsedNode>(node)) return this.#list(node.items, path)
    return isScalar(node) ? this.#scalar(node, path, line) : null
  }

  #alias(name: string, path: Path, line: number): Json | undefined {
    const target = this.#anchors.get(name)
    if (target) return this.#value(target, path, line)
    return this.#fault('CONF_FIELD', line, path, `${shown(`*${name}`)} is not defined; mark an earlier value with &`)
  }

  #table(pairs: readonly Pair<ParsedNode, ParsedNode | null>[], path: Path): Json {
    const lines = new Map<string, number>()
    const entries: [string, Json][] = []
    for (const { key, value } of pairs) {
      const name = isScalar(key) ? String(key.value) : ''
      const line = this.#lineAt(key)
      const first = lines.get(name)
      if (first !== undefined) {
        this.#fault('CONF_FIELD', line, [...path, name], `is given twice; the first is on line ${first}`)
        continue
      }
      lines.set(name, line)
      const read = this.#value(value, [...path, name], line)
      if (read !== undefined) entries.push([name, read])
    }
    return Object.fromEntries(entries)
  }

  #list(items: readonly ParsedNode[], path: Path): Json {
    return items.map((item, i) => this.#value(item, [...path, i], this.#lineAt(item)) ?? null)
  }

  #scalar(scalar: Scalar, path: Path, line: number): Json | undefined {
    const { value } = scalar
    if (typeof value !== 'string') return value as Json
    let valid = true
    const expanded = expand(value, this.#env, message => {
      valid = false
      this.#fault('CONF_FIELD', line, path, message)
    })
    if (!valid) return undefined
    // An unquoted variable that expands to nothing counts as an empty value.
    return expanded === '' && value !== '' && scalar.type === 'PLAIN' ? null : expanded
  }

  #lineAt(node: ParsedNode): number {
    return this.#lines.linePos(node.range[0]).line
  }

  #lineOf(path: Path): number {
    const line = this.#places.get(placeKey(path))
    return line ?? (path.length === 0 ? 1 : this.#lineOf(path.slice(0, -1)))
  }

  #giveUp(line: number, message: string): undefined {
    this.#gaveUp = true
    this.#fault('CONF_FILE', line, [], message)
  }

  #fault(code: ErrorCode, line: number, path: Path, message: string): undefined {
    this.#faults.push({ code, line, path, message })
  }
}

function placeKey(path: Path): string {
  return JSON.stringify(path)
}
