/**
 * Starlane beside other programs of the machine: sockets on all addresses (0.0.0.0) neither answer for frontends nor lose their
 * ports to them. Each test runs in a network namespace of its own, with real sockets, routes and packet rules.
 */
import { execFile, execFileSync } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'

// Each in a network namespace of its own.
t.jobs = 3

const skip = whyNot()
const options = skip === undefined ? {} : { skip }
const loopback = { vips: { cidr: '127.96.0.0/16' } }
const clusterIPs = { vips: 'clusterIP', anyip: true }

for (const native of ['0', '1']) {
  const engine = native === '1' ? 'native' : 'streams'

  t.test(`${engine}: without packet rules, frontends and applications contend for ports`, options, async t => {
    t.same(
      await inNamespace(native, loopback, async ({ start, app }) => {
        await start()
        return { bound: await app(7000) }
      }),
      { bound: 'EADDRINUSE' },
    )
    t.same(
      await inNamespace(native, loopback, async ({ start, app, pods, ask, vip, problems }) => {
        await pods()
        await app(7000)
        await start()
        return { answers: await ask(vip, 7000), problems: await problems() }
      }),
      { answers: 'app', problems: ['EXPOSED 127.96.205.102:7000/TCP'] },
      'status says that another socket answers',
    )
  })

  t.test(`${engine}: with redirect, the application and the frontends have the same ports`, options, async t => {
    const given = { ...loopback, nftables: 'redirect' }
    const found = await inNamespace(native, given, async part => {
      const { start, app, problems, vip, names, ask, askUdp, pods, refused, stop, rules, hold } = part
      const before = await app(7001)
      await start()
      const held = await hold(vip)
      const bound = [before, await app(7000)]
      const answers = [await ask(vip, 7000), await askUdp(names), await ask('127.0.0.1', 7000), await ask(vip, 7001)]
      await pods()
      await refused()
      const empty = [await ask(vip, 7000), await askUdp(names)]
      const goesOn = await held()
      await pods('127.1.0.1')
      for (let i = 0; i < 50 && (await ask(vip, 7000)) !== 'one'; i++) await new Promise(r => setTimeout(r, 100))
      const again = [await ask(vip, 7000), await askUdp(names)]
      const unsafe = await problems()
      await stop()
      return { bound, answers, empty, goesOn, again, unsafe, left: rules() }
    })
    t.same(found, {
      bound: ['bound', 'bound'],
      answers: ['one', 'one', 'app', 'ECONNREFUSED'],
      empty: ['ECONNREFUSED', 'ECONNREFUSED'],
      goesOn: 'echo',
      again: ['one', 'one'],
      unsafe: [],
      left: '',
    })
  })

  t.test(`${engine}: with guard, no other socket can be reached on a ClusterIP`, options, async t => {
    const script = async ({ start, app, problems, ask, askUdp, vip, names }: Parts) => {
      const bound = [await app(22), await app(7000)]
      await start()
      return {
        bound,
        answers: [await ask(vip, 22), await ask(vip, 7000), await askUdp(names)],
        problems: await problems(),
      }
    }
    t.same(
      await inNamespace(native, clusterIPs, script),
      {
        bound: ['bound', 'bound'],
        answers: ['ENETUNREACH', 'ENETUNREACH', 'one'],
        problems: ['LISTEN 10.96.0.10:7000/TCP', 'EXPOSED 10.96.0.10:7000/TCP', 'EXPOSED proxy.anyip'],
      },
      'without it, an address that could not be listened on has no route',
    )
    t.same(await inNamespace(native, { ...clusterIPs, nftables: 'guard' }, script), {
      bound: ['bound', 'bound'],
      answers: ['ENETUNREACH', 'ENETUNREACH', 'one'],
      problems: ['LISTEN 10.96.0.10:7000/TCP'],
    })
    t.same(await inNamespace(native, { ...clusterIPs, nftables: 'redirect' }, script), {
      bound: ['bound', 'bound'],
      answers: ['ECONNREFUSED', 'one', 'one'],
      problems: [],
    })
  })
}

for (const proxy of [clusterIPs, { ...clusterIPs, nftables: 'guard' }, { ...clusterIPs, nftables: 'redirect' }]) {
  t.test(`routes and rules outlive a reload that replaces the proxy: ${JSON.stringify(proxy)}`, options, async t => {
    const found = await inNamespace('0', proxy, async ({ start, reload, ask, askUdp, vip, names, hold, problems }) => {
      await start()
      const held = await hold(vip)
      await reload('1s')
      const during = [await ask(vip, 7000), await askUdp(names), await held()]
      await reload('100ms')
      // The first proxy ends 5 s after its replacement, and with it what it held.
      for (let i = 0; i < 60; i++) {
        await new Promise(r => setTimeout(r, 100))
        if ((await ask(vip, 7000)) !== 'one') break
      }
      return { during, after: [await ask(vip, 7000), await askUdp(names)], problems: (await problems()).slice(0, 9) }
    })
    t.same(found, { during: ['one', 'one', 'echo'], after: ['one', 'one'], problems: [] })
  })
}

t.test('without nft Starlane runs as if nothing were configured, and says so', options, async t => {
  const found = await inNamespace(
    '0',
    { ...loopback, nftables: 'redirect' },
    async ({ start, problems, vip, ask, lock }) => {
      await lock()
      await start()
      return { answers: await ask(vip, 7000), problems: await problems() }
    },
  )
  t.same(found, { answers: 'one', problems: ['NFTABLES proxy.nftables'] })
})

function whyNot(): string | undefined {
  try {
    const needed = 'ip link set lo up && echo "add table inet t" | nft -f -'
    execFileSync('unshare', ['-rn', 'sh', '-c', needed], { stdio: 'ignore' })
    return undefined
  } catch {
    return 'needs unshare, iproute2 and nft, and the right to make a network namespace'
  }
}

/** What a script can use; see `parts` in support/netns/addresses-child.ts. */
type Parts = import('../support/netns/addresses-child.ts').Parts

/** Runs the script in a fresh network namespace; it sees nothing of this file. */
async function inNamespace(native: string, proxy: object, script: (parts: Parts) => Promise<object>): Promise<unknown> {
  const child = JSON.stringify(new URL('../support/netns/addresses-child.ts', import.meta.url).href)
  const whole = `
    const { parts } = await import(${child})
    const found = await (${script})(await parts(${JSON.stringify(proxy)}))
    process.stdout.write(JSON.stringify(found), () => process.exit(0))`
  const { stdout } = await promisify(execFile)(
    'unshare',
    ['-rn', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', whole],
    { env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, STARLANE_NATIVE: native }, timeout: 60_000 },
  )
  return JSON.parse(stdout)
}
