/**
 * Local routes, each test in a network namespace of its own: the script runs there and reports. Real routes, real
 * sockets; nothing of this machine is touched.
 */
import { execFile, execFileSync } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { LocalRoutes } from '../../../proxy/dataplane/frontends/local-routes.ts'
import { silentLog } from '../../../proxy/model/log.ts'

const reason = whyNot()
const options = reason === undefined ? {} : { skip: reason }

t.test('addresses can be bound and reached while they are held, and no longer', options, async t => {
  const found = await inNamespace(
    `const before = [table(), sysctl()]
     const early = [await bind('10.96.0.10'), await bind('fd00:96::10')]
     await routes.add(['10.96.0.10', 'fd00:96::10', '127.0.0.1', '::1', '10.96.0.10'])
     const while_ = [await bind('10.96.0.10'), await bind('fd00:96::10')]
     const held = tagged()
     await routes.remove(['10.96.0.10', '10.1.2.3'])
     const later = [await bind('10.96.0.10'), await bind('fd00:96::10')]
     await routes.close()
     report({ early, while_, held, later, clean: String([table(), sysctl()]) === String(before), logged })`,
  )
  t.same(found, {
    early: ['EADDRNOTAVAIL', 'EADDRNOTAVAIL'],
    while_: ['reached', 'reached'],
    held: ['10.96.0.10', 'fd00:96::10'],
    later: ['EADDRNOTAVAIL', 'reached'],
    clean: true,
    logged: [],
  })
})

t.test('programs of this machine connect from a loopback address', options, async t => {
  const found = await inNamespace(
    `ip('route add local 10.96.0.11 dev lo proto 196')
     ip('-6 route add local fd00:96::11 dev lo proto 196')
     const addresses = ['10.96.0.10', '10.96.0.11', 'fd00:96::10', 'fd00:96::11']
     await routes.add(addresses)
     const seen = []
     for (const address of addresses) seen.push(await clientOf(address))
     await routes.close()
     report({ seen, end: tagged() })`,
  )
  t.same(found, { seen: ['127.0.0.1', '127.0.0.1', '::1', '::1'], end: [] }, 'over what an earlier version left, too')
})

t.test('a route of another program is used and never removed', options, async t => {
  const found = await inNamespace(
    `ip('route add local 10.96.0.10 dev lo')
     ip('addr add 10.96.0.11/32 dev lo')
     await routes.add(['10.96.0.10', '10.96.0.11', '10.96.0.12'])
     const bound = [await bind('10.96.0.10'), await bind('10.96.0.11'), await bind('10.96.0.12')]
     ip('route del local 10.96.0.12 dev lo')
     ip('route add local 10.96.0.12 dev lo proto static')
     await routes.remove(['10.96.0.10'])
     await routes.close()
     report({ bound, left: ['10.96.0.10', '10.96.0.11', '10.96.0.12'].filter(a => table().includes(a)) })`,
  )
  t.same(found, { bound: ['reached', 'reached', 'reached'], left: ['10.96.0.10', '10.96.0.11', '10.96.0.12'] })
})

t.test('what a crashed run left is taken over or removed', options, async t => {
  const found = await inNamespace(
    `for (const address of ['10.96.0.10', 'fd00:96::10', '10.96.0.99']) ip('route add local ' + address + ' dev lo proto 196')
     await routes.add(['10.96.0.10', 'fd00:96::10', '10.96.0.11'])
     const during = tagged()
     await routes.removeLeftovers()
     const started = tagged()
     await routes.close()
     const end = tagged()
     ip('route add local 10.96.0.99 dev lo proto 196')
     const next = new LocalRoutes({ log })
     await next.removeLeftovers()
     const removed = tagged()
     ip('route add local 10.96.0.98 dev lo proto 196')
     await next.close()
     const last = new LocalRoutes({ log })
     await last.add(['10.96.0.10'])
     await last.close()
     report({ during, started, end, removed, atStop: tagged() })`,
  )
  t.same(found, {
    during: ['10.96.0.10', '10.96.0.11', '10.96.0.99', 'fd00:96::10'],
    started: ['10.96.0.10', '10.96.0.11', 'fd00:96::10'],
    end: [],
    removed: [],
    atStop: [],
  })
})

t.test('nothing is a leftover while another process runs, whichever ends first', options, async t => {
  const found = await inNamespace(
    `const [first, second, third] = [1, 2, 3].map(() => new LocalRoutes({ log }))
     await first.add(['10.96.0.10'])
     await second.add(['10.96.0.11'])
     await first.close()
     await third.add(['10.96.0.12'])
     await third.removeLeftovers()
     const during = tagged()
     await third.close()
     const left = tagged()
     await second.close()
     report({ during, left, end: tagged() })`,
  )
  t.same(found, { during: ['10.96.0.11', '10.96.0.12'], left: ['10.96.0.11'], end: [] })
})

t.test('the routes of another running process are not leftovers', options, async t => {
  const found = await inNamespace(
    `await routes.add(['10.96.0.10'])
     const second = new LocalRoutes({ log })
     await second.add(['10.96.0.10', '10.96.0.11'])
     await second.close()
     const left = tagged()
     await routes.close()
     report({ left, end: tagged() })`,
  )
  t.same(found, { left: ['10.96.0.10'], end: [] })
})

t.test('five thousand at once, and calls that overlap, take effect in order', options, async t => {
  const found = await inNamespace(
    `const addresses = Array.from({ length: 5000 }, (_, i) => '10.96.' + (i >> 8) + '.' + (i & 255))
     const added = routes.add(addresses)
     const removed = routes.remove(addresses.slice(10))
     const again = routes.add(addresses.slice(20, 30))
     await added
     await Promise.all([removed, again])
     const held = tagged()
     const closed = routes.close()
     const late = routes.add(['10.97.0.1'])
     await Promise.all([closed, late])
     report({ held, end: tagged() })`,
  )
  const held = Array.from({ length: 30 }, (_, i) => `10.96.0.${i}`).filter((_, i) => i < 10 || i >= 20)
  t.same(found, { held: held.sort(), end: [] })
})

t.test(
  'a route that vanished is no trouble, and one that cannot be added does not stop the others',
  options,
  async t => {
    const found = await inNamespace(
      `await routes.add(['10.96.0.10', '10.96.0.11'])
     ip('route flush table local proto 196')
     await routes.remove(['10.96.0.10'])
     writeFileSync('/proc/sys/net/ipv6/conf/all/disable_ipv6', '1')
     const { code, message } = await routes.add(['10.96.0.12', 'fd00:96::10', '10.96.0.13']).catch(error => error)
     const held = tagged()
     await routes.close()
     report({ code, message, held, end: tagged(), logged })`,
    )
    t.match(found, {
      code: 'LISTEN',
      message: /no route to lo for fd00:96::10: \S+/,
      held: ['10.96.0.12', '10.96.0.13'],
      end: [],
    })
    t.same(found.logged, [])
  },
)

t.test('without privileges: an error that names the cause and the remedy', options, async t => {
  const found = await inNamespace(
    `const { code, message } = await routes.add(['10.96.0.10', '10.96.0.11']).catch(error => error)
     await routes.close()
     report({ code, message, held: tagged() })`,
    // A user namespace within: root by name, without power over the network outside it.
    ['unshare', '-r'],
  )
  t.match(found, { code: 'LISTEN', held: [] })
  t.match(found.message, /10\.96\.0\.10 and 1 more: Operation not permitted; .*NET_ADMIN.*proxy\.vips/)
})

t.test('without iproute2: an error that says so', async t => {
  const routes = new LocalRoutes({ log: silentLog, command: '/nowhere/ip' })
  t.teardown(() => routes.close())
  const refused = { code: 'LISTEN', message: /"\/nowhere\/ip" failed: .*ENOENT.*install iproute2/ }
  await t.rejects(routes.add(['10.96.0.10']), refused)
  await t.rejects(routes.add(['10.96.0.10']), refused, 'and again, not less clearly')
  const strange = new LocalRoutes({ log: silentLog, command: 'false' })
  t.teardown(() => strange.close())
  await t.rejects(strange.add(['10.96.0.10']), { code: 'LISTEN', message: /"false" failed/ })
})

t.test('nothing but addresses gets into a batch', async t => {
  const routes = new LocalRoutes({ log: silentLog, command: '/nowhere/ip' })
  for (const address of [
    '10.96.0.10 dev eth0',
    '10.96.0.10\nlink set lo down',
    '10.96.0.0/16',
    'default',
    '',
    '010.0.0.1',
    'FD00::1',
  ]) {
    await t.rejects(routes.add([address]), { code: 'LISTEN', message: /is not an address/ }, JSON.stringify(address))
  }
})

function whyNot(): string | undefined {
  try {
    const needed = 'ip link set lo up && echo 0 > /proc/sys/net/ipv6/ip_nonlocal_bind'
    execFileSync('unshare', ['-rn', 'sh', '-c', needed], { stdio: 'ignore' })
    return undefined
  } catch {
    return 'needs unshare, iproute2 and IPv6, and the right to make a network namespace'
  }
}

/** Runs a script with a fresh `routes` in a fresh network namespace, and gives back what it reports. */
async function inNamespace(script: string, within: readonly string[] = []): Promise<Record<string, unknown>> {
  const from = JSON.stringify(new URL('../../../proxy/dataplane/frontends/local-routes.ts', import.meta.url).href)
  const whole = `
    import { execFileSync } from 'node:child_process'
    import { readFileSync, writeFileSync } from 'node:fs'
    import { connect, createServer } from 'node:net'
    import { LocalRoutes } from ${from}
    const logged = []
    const log = { debug() {}, info() {}, warn: (event, fields) => logged.push([event, fields]), error() {} }
    const routes = new LocalRoutes({ log })
    const report = value => process.stdout.write(JSON.stringify(value))
    const ip = words => execFileSync('ip', words.split(' '), { encoding: 'utf8' })
    const table = () => ip('-4 route show table local') + ip('-6 route show table local')
    const tagged = () =>
      ['-4', '-6'].flatMap(family => ip(family + ' route show table local proto 196').match(/(?<=^local )\\S+/gm) ?? []).sort()
    const sysctl = () => readFileSync('/proc/sys/net/ipv6/ip_nonlocal_bind', 'utf8').trim()
    // What the server sends, once both sides are closed: with its route, a connection would lose its way to the end.
    const answerAt = async (host, answerTo) => {
      const server = createServer(socket => socket.end(answerTo(socket)))
      const failed = await new Promise(resolve => server.on('error', resolve).listen(0, host, () => resolve()))
      if (failed) return failed.code
      const heard = await new Promise((resolve, reject) => {
        let text = ''
        connect({ host, port: server.address().port })
          .on('data', data => { text += data })
          .on('error', reject)
          .on('close', () => resolve(text))
      })
      await new Promise(resolve => server.close(resolve))
      return heard
    }
    const bind = host => answerAt(host, () => 'reached')
    const clientOf = host => answerAt(host, socket => socket.remoteAddress)
    ${script}`
  const args = ['-rn', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', ...within]
  const { stdout } = await promisify(execFile)(
    'unshare',
    [...args, process.execPath, '--input-type=module', '-e', whole],
    {
      env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    },
  )
  return JSON.parse(stdout)
}
