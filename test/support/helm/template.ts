/** Go's templates, as far as the chart uses them: https://pkg.go.dev/text/template. Anything else throws. */

/** What a word of a template stands for: a call gets the values of its arguments. */
export type Functions = Readonly<Record<string, (...args: never[]) => unknown>>

type Table = Record<string, unknown>
type Scope = Map<string, { value: unknown }>[]

/** A call, a field of a value (`.a.b`, `$x.a`, `(…).a`), a pipeline in brackets, or a literal. */
type Term = { readonly literal: unknown } | { readonly word: string } | Path
interface Path {
  readonly of: '.' | `$${string}` | Pipeline
  readonly fields: readonly string[]
}
type Pipeline = readonly (readonly Term[])[]

type Node =
  | { readonly text: string }
  | { readonly set: string; readonly declares: boolean; readonly to: Pipeline }
  | { readonly print: Pipeline }
  | Block
interface Block {
  readonly kind: 'if' | 'with' | 'range'
  readonly variable: string | undefined
  readonly on: Pipeline
  readonly body: Node[]
  readonly otherwise: Node[]
}

/** The text that the template gives with `.` as `dot`. Throws an `Error` for what is not understood. */
export function render(template: string, dot: unknown, functions: Functions): string {
  const { nodes, ended } = parse(tokens(template)[Symbol.iterator]())
  if (ended) throw new Error(`"${ended}" closes nothing`)
  return output(nodes, dot, [new Map([['$', { value: dot }]])], functions)
}

type Token = { readonly text: string } | { readonly action: string }

/** `{{-` and `-}}` take the white space beside them. */
function tokens(template: string): Token[] {
  const found: Token[] = []
  let rest = template
  for (;;) {
    const action = /(\s*\{\{-\s|\{\{)(\s*\/\*.*?\*\/\s*|(?:"(?:\\.|[^"])*"|(?!\}\}|\s-\}\}).)*)(\s-\}\}\s*|\}\})/s.exec(
      rest,
    )
    if (!action) return [...found, { text: rest }]
    found.push({ text: rest.slice(0, action.index) })
    const inner = (action[2] ?? '').trim()
    if (!inner.startsWith('/*')) found.push({ action: inner })
    rest = rest.slice(action.index + action[0].length)
  }
}

/** Up to the `end` or `else` of the block that these nodes are in. */
function parse(rest: Iterator<Token>): { nodes: Node[]; ended: string | undefined } {
  const nodes: Node[] = []
  for (let next = rest.next(); !next.done; next = rest.next()) {
    const token = next.value
    if ('text' in token) nodes.push({ text: token.text })
    else if (/^(end|else)\b/.test(token.action)) return { nodes, ended: token.action }
    else nodes.push(parseAction(token.action, rest))
  }
  return { nodes, ended: undefined }
}

function parseAction(action: string, rest: Iterator<Token>): Node {
  const [, kind, variable, on = ''] = /^(if|with|range)\s+(?:(\$\w+)\s*:=\s*)?(.*)$/s.exec(action) ?? []
  if (kind) {
    const { nodes, ended } = parse(rest)
    if (ended !== 'end' && ended !== 'else') throw new Error(`"${action}" ends with "${ended ?? 'the file'}"`)
    const otherwise = ended === 'else' ? parse(rest) : { nodes: [], ended: 'end' }
    if (otherwise.ended !== 'end') throw new Error(`"${action}" has no end`)
    return { kind: kind as Block['kind'], variable, on: pipeline(on), body: nodes, otherwise: otherwise.nodes }
  }
  const [, set, sign, to = ''] = /^(\$\w+)\s*(:?=)\s*(.*)$/s.exec(action) ?? []
  return set ? { set, declares: sign === ':=', to: pipeline(to) } : { print: pipeline(action) }
}

function pipeline(text: string): Pipeline {
  const words = text.match(/"(?:\\.|[^"])*"|[()|]|\$?[\w.]+|\S/g) ?? []
  const { read, rest } = commands(words)
  if (rest.length > 0) throw new Error(`"${text}" has a bracket too many`)
  return read
}

function commands(words: readonly string[]): { read: Pipeline; rest: readonly string[] } {
  const read: Term[][] = [[]]
  let rest = words
  while (rest[0] !== undefined && rest[0] !== ')') {
    const [word, ...after] = rest
    rest = after
    if (word === '|') read.push([])
    else if (word === '(') {
      const inner = commands(rest)
      const [, field, ...others] = /^\.\w/.test(inner.rest[1] ?? '') ? inner.rest : [')', '', ...inner.rest.slice(1)]
      read.at(-1)?.push({ of: inner.read, fields: fieldsOf(field ?? '') })
      rest = others
    } else read.at(-1)?.push(term(word))
  }
  return { read, rest }
}

function term(word: string): Term {
  if (/^["\d]/.test(word)) return { literal: JSON.parse(word) }
  if (word === 'true' || word === 'false') return { literal: word === 'true' }
  if (word.startsWith('.')) return { of: '.', fields: fieldsOf(word) }
  const [, variable = '', fields = ''] = /^(\$\w*)((?:\.\w+)*)$/.exec(word) ?? []
  if (variable) return { of: variable as Path['of'], fields: fieldsOf(fields) }
  if (!/^[a-z]\w*$/i.test(word)) throw new Error(`"${word}" is not understood`)
  return { word }
}

function fieldsOf(text: string): string[] {
  return text.split('.').filter(name => name !== '')
}

function output(nodes: readonly Node[], dot: unknown, scopes: Scope, functions: Functions): string {
  const result = (of: Pipeline) => evaluate(of, dot, scopes, functions)
  return nodes
    .map(node => {
      if ('text' in node) return node.text
      if ('print' in node) return String(result(node.print) ?? '')
      if ('set' in node) {
        const value = result(node.to)
        const place = node.declares ? undefined : found(scopes, node.set)
        if (place) place.value = value
        else scopes.at(-1)?.set(node.set, { value })
        return ''
      }
      const value = result(node.on)
      const inside = (nodes: readonly Node[], dot: unknown, variable?: unknown) =>
        output(nodes, dot, [...scopes, new Map(node.variable ? [[node.variable, { value: variable }]] : [])], functions)
      if (!isTrue(value)) return inside(node.otherwise, dot, value)
      if (node.kind !== 'range') return inside(node.body, node.kind === 'with' ? value : dot, value)
      return Object.values(value as Table)
        .map(each => inside(node.body, each, each))
        .join('')
    })
    .join('')
}

/** The value of each command is the last argument of the next one. */
function evaluate(of: Pipeline, dot: unknown, scopes: Scope, functions: Functions): unknown {
  const call = (word: string, args: readonly unknown[]) => {
    const known = functions[word]
    if (!known) throw new Error(`the function "${word}" is not known`)
    return known(...(args as never[]))
  }
  const read = (term: Term): unknown => {
    if ('literal' in term) return term.literal
    if ('word' in term) return call(term.word, [])
    const start =
      term.of === '.'
        ? dot
        : typeof term.of === 'string'
          ? found(scopes, term.of).value
          : evaluate(term.of, dot, scopes, functions)
    return term.fields.reduce((value, name) => (value as Table | undefined)?.[name], start)
  }
  let piped: readonly unknown[] = []
  for (const [first, ...others] of of) {
    if (!first) throw new Error('an empty command')
    const args = others.map(read).concat(piped)
    const called = 'word' in first ? (...args: unknown[]) => call(first.word, args) : read(first)
    if (typeof called !== 'function' && args.length > 0) throw new Error('only a function takes arguments')
    piped = [typeof called === 'function' ? called(...args) : called]
  }
  return piped[0]
}

function found(scopes: Scope, name: string): { value: unknown } {
  const place = scopes.findLast(scope => scope.has(name))?.get(name)
  if (!place) throw new Error(`the variable ${name} is not declared`)
  return place
}

/** Empty texts, lists and tables, 0, false and nothing are not. */
export function isTrue(value: unknown): boolean {
  return typeof value === 'object' && value !== null ? Object.keys(value).length > 0 : Boolean(value)
}
