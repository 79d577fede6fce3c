/** The rooms of proxy/dns: the direction of their imports, and what the docs say of their files and log events. */
import { globSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import t from 'tap'

const rooms = ['message', 'zones', 'forward', 'server']
/** What the rooms share: options, and what passes between sockets and responder. */
const shared = ['options.ts', 'transport.ts', 'histogram.ts']
const allowed: Readonly<Record<string, readonly string[]>> = {
  message: ['message'],
  zones: ['zones', 'message', ...shared],
  forward: ['forward', 'message', ...shared],
  server: ['server', 'message', ...shared],
}

/** `message` for `message/query.ts`; a file beside the rooms is a room of its own. */
function roomOf(file: string): string {
  const [first = ''] = file.split('/')
  return first
}

const texts = new Map(
  globSync('proxy/dns/**/*.ts').map(path => [posix.relative('proxy/dns', path), readFileSync(path, 'utf8')]),
)
const imports = [...texts].flatMap(([from, text]) => {
  return [...text.matchAll(/from '(\.[^']+)'/g)].flatMap(([, specifier = '']) => {
    const to = posix.join(posix.dirname(from), specifier)
    return to.startsWith('..') ? [] : [{ from, to }]
  })
})

t.test('no room imports a room above it', async t => {
  const wrong = imports.filter(({ from, to }) => allowed[roomOf(from)]?.includes(roomOf(to)) === false)
  t.same(wrong, [])
  for (const room of rooms)
    t.ok(
      imports.some(({ from }) => roomOf(from) === room),
      `${room} was read`,
    )
})

t.test('only the responder knows the sockets', async t => {
  const users = imports.filter(({ from, to }) => roomOf(to) === 'server' && roomOf(from) !== 'server')
  t.same([...new Set(users.map(({ from }) => from))], ['responder.ts'])
})

t.test('the shared files import no room', async t => {
  t.same(
    imports.filter(({ from }) => shared.includes(from)),
    [],
  )
})

t.test('docs/life-of-a-question.md names every file, and no other', async t => {
  const page = readFileSync('docs/life-of-a-question.md', 'utf8')
  const named = [...page.matchAll(/\*\*`([^`]+\.ts)`\*\*/g)].map(([, file = '']) => file)
  t.same([...new Set(named)].sort(), [...texts.keys()].sort())
})

t.test('log events are dotted, and listed in docs/dns.md', async t => {
  const code = [...texts.values(), readFileSync('proxy/runtime/name-service.ts', 'utf8')].join('\n')
  const logged = [...code.matchAll(/\blog\.(?:debug|info|warn|error)\('([^']+)'/g)].map(([, event = '']) => event)
  const page = readFileSync('docs/dns.md', 'utf8')
  const [, table = ''] = page.split('## Log events')
  const listed = [...table.matchAll(/`(dns\.[a-z.]+)`(?=[^|]*\| (?:info|warn|error))/g)].map(([, event = '']) => event)
  t.same([...new Set(logged)].sort(), listed.sort())
  for (const event of logged) t.match(event, /^dns(\.[a-z]+)+$/)
})
