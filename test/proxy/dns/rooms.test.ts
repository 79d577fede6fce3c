/** The direction of imports within proxy/dns: message <- zones, forward <- respond <- server <- responder. */
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

/** `message/query.ts` is of the room `message`; a file beside the rooms stands for itself. */
function roomOf(file: string): string {
  const [first = ''] = file.split('/')
  return first
}

const imports = globSync('proxy/dns/**/*.ts').flatMap(path => {
  const from = posix.relative('proxy/dns', path)
  return [...readFileSync(path, 'utf8').matchAll(/from '(\.[^']+)'/g)].flatMap(([, specifier = '']) => {
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

t.test('what all share imports no room', async t => {
  t.same(
    imports.filter(({ from }) => shared.includes(from)),
    [],
  )
})
