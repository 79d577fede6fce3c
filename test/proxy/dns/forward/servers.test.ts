/** What is learned about a server and how: EDNS, the case of names, validation; and what a lack of ports costs. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import dnsPacket from 'dns-packet'
import t, { type Test } from 'tap'
import type { DnsOptions } from '../../../../proxy/dns/options.ts'
import { FakeClock } from '../../../support/clock.ts'
import { eventually } from '../../../support/eventually.ts'
import { FakeDirectory, globalService } from '../../../support/model.ts'
import { ask, responder, told } from '../dns.ts'
import { a, fakeUpstream, type Heard, type Said, type Script, soa } from '../upstream.ts'

const run = promisify(execFile)

async function started(t: Test, upstream: string[], options: Partial<DnsOptions> = {}) {
  const clock = new FakeClock()
  const dns = responder(new FakeDirectory(globalService()), { upstream, ...options }, { clock })
  await dns.start()
  t.teardown(() => dns.close())
  return { dns, clock }
}

const always: Script = ({ name, type }) =>
  type === 'A' ? { answers: [a(name, '192.0.2.1')] } : { authorities: [soa('org', 60, 60)] }

const asksFor = (name: string) => (heard: Heard) => heard.name === name

function until(condition: () => boolean): Promise<unknown> {
  return eventually(() => condition() || Promise.reject(new Error('not yet')))
}

function bareFormErr(id: number): Buffer {
  return Buffer.from([id >> 8, id & 255, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0])
}

for (const [what, rejection] of [
  ['FORMERR', ({ id }) => ({ raw: bareFormErr(id) })],
  ['NOTIMP', () => ({ rcode: 4, plain: true })],
] as const satisfies readonly [string, (heard: Heard) => Said][]) {
  t.test(`one name with ${what} and no OPT: asked without EDNS, and the server keeps it`, async t => {
    const upstream = await fakeUpstream(t, heard =>
      heard.edns && heard.name.startsWith('odd') ? rejection(heard) : always(heard),
    )
    const { dns, clock } = await started(t, [upstream.text])
    for (let i = 0; i < 5; i++) {
      t.equal(told(await ask(dns, `odd${i}.example.org`, 'A')), 'A 192.0.2.1')
      await clock.advance(11_000)
    }
    await until(() => upstream.heard.some(asksFor('.')))
    t.equal(told(await ask(dns, 'signed.example.org', 'A')), 'A 192.0.2.1')
    t.equal(upstream.heard.find(asksFor('signed.example.org'))?.edns, true)
    t.ok(
      upstream.heard.filter(asksFor('.')).every(({ edns }) => edns),
      'the test needs no second question',
    )
  })

  t.test(`a server that replies ${what} to all EDNS is asked without it, and asked again later`, async t => {
    const upstream = await fakeUpstream(t, heard => (heard.edns ? rejection(heard) : always(heard)))
    const { dns, clock } = await started(t, [upstream.text])
    t.equal(told(await ask(dns, 'one.example.org', 'A')), 'A 192.0.2.1')
    await until(() => upstream.heard.filter(asksFor('.')).length === 2)
    await eventually(async () => {
      const before = upstream.heard.length
      await ask(dns, `n${before}.example.org`, 'A')
      if (upstream.heard.length !== before + 1) throw new Error('asked with EDNS first')
    })
    upstream.script = always
    await clock.advance(601_000)
    await ask(dns, 'later.example.org', 'A')
    t.equal(upstream.heard.at(-1)?.edns, true, 'it may have been upgraded')
  })
}

t.test('FORMERR with OPT, and an answer without it, say nothing against EDNS', async t => {
  const upstream = await fakeUpstream(t, heard =>
    heard.name.startsWith('bad') ? { rcode: 1 } : { ...(always(heard) as Said), plain: true },
  )
  const { dns } = await started(t, [upstream.text])
  t.equal(told(await ask(dns, 'bad.example.org', 'A')), 'SERVFAIL')
  t.equal(told(await ask(dns, 'www.example.org', 'A')), 'A 192.0.2.1')
  t.equal(told(await ask(dns, 'ftp.example.org', 'A')), 'A 192.0.2.1')
  t.ok(upstream.heard.every(({ edns }) => edns))
})

const { RECURSION_DESIRED: RD, AUTHENTIC_DATA: AD, CHECKING_DISABLED: CD } = dnsPacket

t.test('AD in a query is passed on, and the answer has it for those who asked (RFC 6840 5.7, 5.8)', async t => {
  const upstream = await fakeUpstream(t, ({ name, authentic }) => ({
    answers: [a(name, '192.0.2.1')],
    flags: RD | (authentic ? AD : 0),
  }))
  const { dns } = await started(t, [upstream.text])
  const validated = async (name: string, flags: number) => (await ask(dns, name, 'A', { flags })).flag_ad
  t.equal(await validated('a.example.org', RD), false)
  t.equal(await validated('a.example.org', RD | AD), true, 'not the answer of those who did not ask')
  t.equal(await validated('a.example.org', RD), false)
  t.equal(await validated('b.example.org', RD | AD), true)
  t.equal(await validated('b.example.org', RD), false, 'AD is cleared for others')
  t.equal(await validated('b.example.org', RD | AD | CD), true)
  t.same(
    upstream.heard.map(({ name, authentic }) => `${name} ${authentic}`),
    ['a.example.org false', 'a.example.org true', 'b.example.org true', 'b.example.org true'],
  )
  t.equal((await ask(dns, 'rebel-base.default.svc.cluster.local', 'A', { flags: RD | AD })).flag_ad, false)
})

const mixed: Partial<DnsOptions> = { forward: { randomCase: 'always' } }

function spelledLike(name: string): (heard: Heard) => boolean {
  return heard => heard.spelled.toLowerCase() === name && heard.spelled !== name
}

t.test('letters are sent in random case, and clients see their own', async t => {
  const upstream = await fakeUpstream(t, heard => always({ ...heard, name: heard.spelled }))
  const { dns } = await started(t, [upstream.text], mixed)
  const name = 'abcdefghijklmnopqrstuvwxyz.example.org'
  const packet = await ask(dns, name.toUpperCase(), 'A')
  t.equal(packet.questions?.[0]?.name, name.toUpperCase())
  t.equal(packet.answers?.[0]?.name.toLowerCase(), name)
  t.notOk(spelledLike(name)({ ...(upstream.heard[0] as Heard), spelled: packet.answers?.[0]?.name ?? '' }))
  t.ok(upstream.heard.every(spelledLike(name)), upstream.heard[0]?.spelled ?? '')
  const spellings = new Set<string | undefined>()
  for (let i = 0; i < 20; i++) {
    await ask(dns, `${'n'.repeat(i + 1)}.a-longer-name.example.org`, 'A')
    spellings.add(upstream.heard.at(-1)?.spelled.slice(i + 2))
  }
  t.ok(spellings.size > 18, `${spellings.size} spellings of 20`)
  t.ok(upstream.heard.every(({ transport }) => transport === 'udp'))
})

t.test('by default not on loopback, where no reply can be forged from outside; and never if so configured', async t => {
  const name = 'abcdefghijklmnopqrstuvwxyz.example.org'
  for (const randomCase of ['auto', 'never'] as const) {
    const upstream = await fakeUpstream(t, always)
    const { dns } = await started(t, [upstream.text], { forward: { randomCase } })
    await ask(dns, name, 'A')
    t.equal(upstream.heard[0]?.spelled, name)
  }
})

t.test('one reply in another case is asked for again over TCP, and believed only from there', async t => {
  const upstream = await fakeUpstream(t, ({ name, transport, spelled }) =>
    transport === 'udp'
      ? { question: name, answers: [a(name, '6.6.6.6')] }
      : { question: spelled, answers: [a(name, '192.0.2.1')] },
  )
  const { dns } = await started(t, [upstream.text], mixed)
  for (let i = 0; i < 5; i++)
    t.equal(told(await ask(dns, `forged-reply-${i}.example.org`, 'A')), 'A 192.0.2.1', 'never the forged one')
})

for (const [what, tcp] of [
  ['over both transports', true],
  ['and has no TCP', false],
] as const) {
  t.test(`a server that changes the case ${what} is asked without it, once that is proved`, async t => {
    const upstream = await fakeUpstream(
      t,
      heard => ({ ...(always(heard) as Said), question: heard.name }),
      tcp ? {} : { tcp: false },
    )
    const { dns, clock } = await started(t, [upstream.text], mixed)
    const asked = async (name: string) => {
      const before = upstream.heard.length
      t.equal(told(await ask(dns, name, 'A')), 'A 192.0.2.1')
      return upstream.heard.slice(before).map(({ transport, spelled }) => [transport, spelled === name] as const)
    }
    for (let i = 0; i < 3; i++)
      t.same(await asked(`changed-${i}.example.org`), [
        ['udp', false],
        [tcp ? 'tcp' : 'udp', false],
      ])
    t.same(await asked('as-it-is.example.org'), [['udp', true]], 'and nothing is asked twice')
    await clock.advance(601_000)
    t.equal((await asked('after-a-while.example.org')).length, 2, 'it may have been replaced')
  })
}

t.test('a server that changes the case of some names only keeps being asked in random case', async t => {
  const upstream = await fakeUpstream(t, heard => ({
    ...(always(heard) as Said),
    ...(heard.name.startsWith('odd') && { question: heard.name }),
  }))
  const { dns } = await started(t, [upstream.text], mixed)
  for (let i = 0; i < 6; i++) {
    t.equal(told(await ask(dns, `odd-name-${i}.example.org`, 'A')), 'A 192.0.2.1')
    t.equal(told(await ask(dns, `even-name-${i}.example.org`, 'A')), 'A 192.0.2.1')
  }
  t.ok(spelledLike('even-name-5.example.org')(upstream.heard.at(-1) as Heard))
})

const child = fileURLToPath(new URL('no-ports-child.ts', import.meta.url))
const namespace = [
  '-n',
  'sh',
  '-c',
  'ip link set lo up && echo 40000 40003 >/proc/sys/net/ipv4/ip_local_port_range && exec "$@"',
]
const possible = await run('unshare', [...namespace, 'sh', 'true']).then(
  () => false,
  () => 'needs root and iproute2',
)

t.test('without a free port a question fails and keeps no descriptor', { skip: possible }, async t => {
  const { stdout } = await run('unshare', [...namespace, 'sh', process.execPath, child])
  t.same(JSON.parse(stdout), {
    without: Array(30).fill('SERVFAIL'),
    leaked: 0,
    failures: 0,
    after: 'A 192.0.2.1',
  })
})
