/** `starlane exec`: the hosts file, the forwarder, mount namespaces, exit codes and signals. */
import { spawn, spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync, readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import * as packet from 'dns-packet'
import t, { type Test } from 'tap'
import { Forwarder } from '../../../proxy/cli/exec/forwarder.ts'
import { hostsText } from '../../../proxy/cli/exec/hosts.ts'
import type { ServiceView } from '../../../proxy/model/views.ts'
import { eventually } from '../../support/eventually.ts'
import { services, status } from '../admin/fixture.ts'
import { openStage, type Said } from './stage.ts'

const zones = { domain: 'cluster.local', clusterset: 'clusterset.local' }

t.test('the hosts file has every name that a Pod of the namespace could use', async t => {
  const text = hostsText('127.0.0.1 localhost', services, zones, 'default')
  t.equal(
    text,
    `\
127.0.0.1 localhost
# written by starlane exec
127.96.0.10 rebel-base.default.svc.cluster.local rebel-base.default.svc.clusterset.local rebel-base.default.svc rebel-base.default rebel-base
127.96.0.20 deathstar.empire.svc.cluster.local deathstar.empire.svc.clusterset.local deathstar.empire.svc deathstar.empire
`,
  )
  t.match(hostsText('', services, zones, 'empire'), / deathstar\n/)
  t.notMatch(hostsText('', services, zones, 'empire'), / rebel-base\n/)
})

t.test(
  'the hosts file: headless services by their ready backends, and nothing that the machine says already',
  async t => {
    const [rebelBase] = services
    const like = (given: Partial<ServiceView>) => ({ ...(rebelBase as ServiceView), ...given })
    const headless = hostsText('', [like({ headless: true, frontends: [] })], zones, 'default')
    t.same(
      headless.match(/^[\d.]+/gm),
      ['127.1.0.11', '127.2.0.11', '127.3.0.11'],
      'neither ejected nor down nor terminating',
    )
    const before = '127.0.0.1 localhost # rebel-base\n10.0.0.1\tbuild  rebel-base.default\n'
    const text = hostsText(before, [like({}), like({ name: 'localhost' })], zones, 'default')
    t.notMatch(text.slice(before.length), /rebel-base\.default[ \n]/)
    t.notMatch(text.slice(before.length), / localhost[ \n]/)
    t.match(text, / rebel-base\n/, 'a comment is no name')
    const hostile = like({ name: 'x\n10.6.6.6 bank.example' })
    t.notMatch(hostsText('', [hostile], zones, 'default'), 'bank.example')
  },
)

/** Answers every A question for rebel-base.default with an address, over UDP and TCP; denies the rest. */
async function responder(t: Test): Promise<string> {
  const reply = (message: Buffer) => {
    const { id = 0, questions = [] } = packet.decode(message)
    const [question] = questions
    const known = question?.name === 'rebel-base.default.svc.cluster.local'
    return packet.encode({
      type: 'response',
      id,
      flags: packet.RECURSION_AVAILABLE | packet.AUTHORITATIVE_ANSWER | (known ? 0 : 3),
      questions,
      answers: known && question.type === 'A' ? [{ type: 'A', name: question.name, ttl: 5, data: '127.96.0.10' }] : [],
    })
  }
  const { udp, tcp } = await bothOnOnePort()
  t.teardown(() => {
    udp.close()
    tcp.close()
  })
  udp.on('message', (message, { port, address }) => {
    // All bits set: the nonsense of the last test.
    if (message[3] !== 255) udp.send(reply(message), port, address)
  })
  tcp.on('connection', socket => {
    socket.on('error', () => {})
    socket.on('data', (message: Buffer) => {
      const answer = reply(message.subarray(2))
      socket.end(Buffer.concat([Buffer.from([answer.length >> 8, answer.length & 255]), answer]))
    })
  })
  return `127.0.0.1:${udp.address().port}`
}

/** The kernel chooses a port for UDP, and somebody else may have it for TCP. */
async function bothOnOnePort() {
  for (let tries = 0; ; tries++) {
    const udp = createSocket('udp4').bind(0, '127.0.0.1')
    await once(udp, 'listening')
    const tcp = createServer().listen(udp.address().port, '127.0.0.1')
    try {
      await once(tcp, 'listening')
      return { udp, tcp }
    } catch (error) {
      udp.close()
      if (tries === 20) throw error
    }
  }
}

interface As {
  readonly user?: 'nobody'
  readonly env?: Record<string, string>
}

function starlane(admin: string, argv: readonly string[], { user, env = {} }: As = {}) {
  const drop = user ? asNobody : []
  const [file = '', ...args] = [...drop, process.execPath, 'bin/starlane.js', 'exec', ...argv]
  const child = spawn(file, args, { env: { ...process.env, STARLANE_ADMIN: admin, ...env } })
  const said = { out: '', err: '' }
  child.stdout.on('data', chunk => {
    said.out += chunk
  })
  child.stderr.on('data', chunk => {
    said.err += chunk
  })
  const done = new Promise<Said>(resolve => child.once('close', code => resolve({ code: code ?? -1, ...said })))
  return { child, said, done }
}

function says(said: { readonly out: string }, text: string): Promise<void> {
  return eventually(() => {
    if (said.out !== text) throw new Error(`it says "${said.out}"`)
  }, 20_000)
}

const isRoot = process.getuid?.() === 0
const works = (...argv: [string, ...string[]]) => spawnSync(argv[0], argv.slice(1)).status === 0
const noMounts = works('unshare', '--user', '--map-root-user', '--mount', 'true')
  ? false
  : 'this kernel gives no namespaces to this user'
const noRoot = isRoot ? false : 'only root may bind port 53'
const asNobody: [string, ...string[]] = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
const noNobody =
  isRoot && works(...asNobody, process.execPath, 'bin/starlane.js', '--version')
    ? noMounts
    : 'needs root, setpriv, and a checkout that everybody may read'

t.test('by DNS: a C program, through a forwarder on port 53', { skip: noMounts || noRoot }, async t => {
  const dns = await responder(t)
  const { admin } = await openStage(t, { status: () => ({ ...status, dns: { ...status.dns, address: dns } }) })
  const before = readFileSync('/etc/resolv.conf', 'utf8')

  const script =
    'getent ahostsv4 rebel-base; cat /etc/resolv.conf; grep ^hosts: /etc/nsswitch.conf; getent hosts nobody'
  const looked = await starlane(admin, ['--', 'sh', '-c', script]).done
  t.match(looked, { code: 2, err: '' }, "getent's own code for what is not found")
  t.match(looked.out, /^127\.96\.0\.10 +STREAM rebel-base\.default\.svc\.cluster\.local/)
  t.match(
    looked.out,
    /^nameserver 127\.53\.\d+\.\d+\nsearch default\.svc\.cluster\.local svc\.cluster\.local cluster\.local\noptions ndots:5$/m,
  )
  t.match(looked.out, /^hosts: files dns\n$/m)
  t.equal(readFileSync('/etc/resolv.conf', 'utf8'), before, 'nobody else sees a change')

  const elsewhere = await starlane(admin, ['-n', 'empire', 'grep', 'search', '/etc/resolv.conf']).done
  t.equal(elsewhere.out, 'search empire.svc.cluster.local svc.cluster.local cluster.local\n')

  const dig = 'dig +short +search rebel-base; dig +short +search +tcp rebel-base'
  const dug = await starlane(admin, ['--', 'sh', '-c', dig]).done
  if (dug.code === 127) t.pass('dig is not installed', { skip: true })
  else t.match(dug, { code: 0, out: '127.96.0.10\n127.96.0.10\n' }, 'over UDP and TCP')
})

t.test('a responder that could not bind its address is not used', { skip: noMounts || noRoot }, async t => {
  const dns = { ...status.dns, address: '127.0.0.1:53', listening: false }
  const { admin } = await openStage(t, { status: () => ({ ...status, dns }), services: () => services })
  const found = await starlane(admin, ['--', 'getent', 'hosts', 'rebel-base']).done
  t.match(found, { code: 0, out: /^127\.96\.0\.10 / }, 'the hosts file serves in its place')
  const insisted = await starlane(admin, ['--names', 'dns', '--', 'true']).done
  t.match(insisted, { code: 1, err: /does not listen at 127\.0\.0\.1:53; see "starlane status"/ })
})

t.test('by hosts: the command of an unprivileged user keeps its user id', { skip: noNobody }, async t => {
  let seen = services.slice(0, 1)
  const dns = { ...status.dns, address: '127.0.0.1:1' }
  const { admin } = await openStage(t, { status: () => ({ ...status, dns }), services: () => seen })
  const { code, out } = await starlane(
    admin,
    ['--', 'sh', '-c', 'id -u; id -g; getent hosts rebel-base; grep CapEff /proc/self/status'],
    {
      user: 'nobody',
    },
  ).done
  t.equal(code, 0)
  t.match(out, /^65534\n65534\n127\.96\.0\.10 +rebel-base\.default\.svc\.cluster\.local .*\nCapEff:\t0+\n$/)
  t.match(await starlane(admin, ['--names', 'dns', '--', 'true'], { user: 'nobody' }).done, {
    code: 1,
    err: /^starlane: EXEC_DNS .*port 53.*--names hosts\n$/,
  })

  const loop =
    'getent hosts rebel-base >&2; echo up; until getent hosts deathstar.empire; do sleep 0.1; done; getent hosts rebel-base || echo gone'
  const watching = starlane(admin, ['--', 'sh', '-c', loop], { user: 'nobody' })
  await says(watching.said, 'up\n')
  t.match(watching.said.err, '127.96.0.10')
  seen = services.slice(1)
  const { out: later } = await watching.done
  t.match(later, /^up\n127\.96\.0\.20 .*\ngone\n$/, 'names come and go while it runs')
})

t.test('exit codes and signals are those of the command', { skip: noMounts }, async t => {
  const { admin } = await openStage(t)
  const TMPDIR = t.testdir({})
  const run = (...argv: string[]) => starlane(admin, ['--names', 'hosts', '--', ...argv], { env: { TMPDIR } })
  t.equal((await run('sh', '-c', 'exit 7').done).code, 7)
  t.equal((await run('sh', '-c', 'kill -KILL $$').done).code, 137)
  t.match(await run('no-such-program').done, { code: 127, err: /no-such-program/ })
  t.match(
    await run('printf', '%s|', 'a b', '$HOME', '--', '-x').done,
    { out: 'a b|$HOME|--|-x|' },
    'words stay as they are',
  )

  const { child, said, done } = run(
    'sh',
    '-c',
    'trap "echo hung; exit 3" HUP; trap "echo bye; exit 4" TERM; echo up; while :; do sleep 0.05; done',
  )
  await says(said, 'up\n')
  child.kill('SIGTERM')
  t.match(await done, { code: 4, out: 'up\nbye\n' })
  t.same(readdirSync(TMPDIR), [], 'nothing is left behind')
})

t.test('when the kernel refuses a namespace, one line says so', async t => {
  const { admin } = await openStage(t)
  // A PATH in which there is no unshare, as on a machine that is no Linux.
  const none = await starlane(admin, ['--', 'true'], { env: { PATH: t.testdir() } }).done
  t.match(none, { code: 1, out: '', err: /^starlane: EXEC_NAMESPACE {2}.*unshare is not installed.*\n$/ })

  const bin = t.testdir({ unshare: '#!/bin/sh\necho "unshare: unshare failed: Operation not permitted" >&2\nexit 1\n' })
  chmodSync(`${bin}/unshare`, 0o755)
  const refused = await starlane(admin, ['--', 'true'], { env: { PATH: `${bin}:${process.env.PATH}` } }).done
  t.match(refused, { code: 1, err: /^starlane: EXEC_NAMESPACE {2}.*Operation not permitted.*run it as root.*\n$/ })
})

t.test(
  'the forwarder returns each answer to its client, and survives malformed messages',
  { skip: noRoot },
  async t => {
    const dns = await responder(t)
    const [address = '', port] = dns.split(':')
    const forwarder = await Forwarder.open({ address, port: Number(port) })
    t.teardown(() => forwarder?.close())
    const nonsense = createSocket('udp4')
    nonsense.send(Buffer.from('short'), 53, forwarder?.address)
    nonsense.send(Buffer.alloc(500, 255), 53, forwarder?.address, () => nonsense.close())

    const ask = async (name: string) => {
      const client = createSocket('udp4')
      client.send(packet.encode({ type: 'query', id: 7, questions: [{ type: 'A', name }] }), 53, forwarder?.address)
      const [message] = await once(client, 'message')
      client.close()
      return packet.decode(message)
    }
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => ask(`name-${i}.example`)))
    t.same(
      answers.map(answer => answer.id),
      Array(50).fill(7),
      'with the id it asked under',
    )
    t.same(
      answers.map(answer => answer.questions?.[0]?.name),
      Array.from({ length: 50 }, (_, i) => `name-${i}.example`),
    )
  },
)
