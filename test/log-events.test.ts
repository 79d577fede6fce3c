/** The events of the log have one form, `word.word-or-hyphen`, so that an operator can filter by their first word. */
import { globSync, readFileSync } from 'node:fs'
import t from 'tap'
import ts from 'typescript'

const levels = ['debug', 'info', 'warn', 'error']
const dotted = /^[a-z]+(\.[a-z-]+)+$/
/** `ready` is what scripts wait for. */
const others = ['ready']
/** Passes on the events of plugins. */
const forwarder = 'proxy/chain/host.ts'

t.test('every event of the log is dotted', async t => {
  const files = globSync('{proxy,plugins}/**/*.ts').filter(file => file !== forwarder)
  const events = files.flatMap(file => eventsIn(file, readFileSync(file, 'utf8')))
  t.ok(events.length > 40, `${events.length} calls are found`)
  for (const { place, event } of events) {
    t.ok(event !== undefined && (dotted.test(event) || others.includes(event)), `${place}: ${event}`)
  }
})

t.test('the scan sees every form of call', async t => {
  const seen = (code: string) => eventsIn('a.ts', code).map(({ event }) => event)
  t.same(seen(`log.info('a.b')`), ['a.b'])
  t.same(seen(`this.#parts.log.warn('a b', { error })`), ['a b'])
  t.same(seen(`this.#log?.error(held ? 'a.b' : 'a c')`), ['a.b', 'a c'])
  t.same(seen(`log.debug(\`a.\${state}\`)`), ['a.x'])
  t.same(seen('log.debug(event)'), [undefined])
  t.same(seen(`console.error('not a log')`), [])
})

interface LoggedEvent {
  readonly place: string
  /** Undefined where it cannot be read from the code. A part that is computed reads as `x`. */
  readonly event: string | undefined
}

function eventsIn(file: string, text: string): LoggedEvent[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest)
  const found: LoggedEvent[] = []
  visit(source)
  return found

  function visit(node: ts.Node): void {
    if (ts.isCallExpression(node) && isLog(node.expression)) {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart(source))
      for (const event of textsOf(node.arguments[0])) found.push({ place: `${file}:${line + 1}`, event })
    }
    ts.forEachChild(node, visit)
  }

  function isLog(callee: ts.Expression): boolean {
    if (!ts.isPropertyAccessExpression(callee) || !levels.includes(callee.name.text)) return false
    return /(^|[.#])log$/.test(callee.expression.getText(source))
  }
}

function textsOf(argument: ts.Expression | undefined): (string | undefined)[] {
  if (argument === undefined) return [undefined]
  if (ts.isStringLiteralLike(argument)) return [argument.text]
  if (ts.isConditionalExpression(argument)) return [...textsOf(argument.whenTrue), ...textsOf(argument.whenFalse)]
  if (!ts.isTemplateExpression(argument)) return [undefined]
  return [[argument.head.text, ...argument.templateSpans.map(({ literal }) => literal.text)].join('x')]
}
