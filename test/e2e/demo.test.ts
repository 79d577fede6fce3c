/** The demo, which is the first command of the README. One file, since two demos cannot run on one machine. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { get } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { eventually } from '../support/eventually.ts'
import { needsKubectl } from '../support/kubectl.ts'

const bin = fileURLToPath(new URL('../../bin/starlane.js', import.meta.url))

const environment = { ...process.env, STARLANE_DEMO_DIR: join(t.testdir({}), 'demo'), NO_COLOR: '1' }

t.test('the demo holds from the first step to the last', { timeout: 90_000 }, async t => {
  const demo = startDemo(t, ['demo'])
  t.equal(await demo.exited, 0, demo.output())
  const told = demo.output()
  t.match(told, /^1\. .*both clusters answer\n {3}ok/m)
  t.match(told, /^2\. .*scaled to 0.*\n {3}ok .*afterwards 60 answers: 60 from cluster-1, 0 from cluster-2; 0 failed/m)
  t.match(told, /^3\. .*scaled back.*\n {3}ok/m)
  t.match(
    told,
    /^4\. .*killed.*\n.*still says ready\n {3}ok .*Starlane reports rebel-base-cluster-1-\d (down|ejected); 0 failed/m,
  )
  const figure = (name: string) => Number(new RegExp(`${name} +(\\d+)`).exec(told)?.[1])
  t.equal(figure('failed'), 0)
  t.ok(figure('requests sent') > 200)
  t.equal(
    figure('requests sent'),
    figure('from cluster-1') + figure('from cluster-2'),
    'every request was answered by somebody',
  )
})

t.test(
  'demo --tunnel: the same story through a gateway, and an observer reads nothing',
  { timeout: 90_000 },
  async t => {
    const demo = startDemo(t, ['demo', '--tunnel'])
    t.equal(await demo.exited, 0, demo.output())
    const told = demo.output()
    t.match(told, /All steps passed\.\n {2}requests sent +\d+\n {2}failed +0\n/)
    t.match(
      told,
      /connections +\d+, all to the gateway 127\.0\.0\.1:\d+\n {2}bytes +\d+, in \d{3,} records of TLS 1\.3\n/,
    )
    t.match(told, /could read +no address of a pod, no name of a service, no request\n/)
  },
)

t.test('when Starlane dies during the demo, the demo says so at once', { timeout: 60_000 }, async t => {
  const demo = startDemo(t, ['demo'])
  await eventually(() => assert.match(demo.output(), /^1\. /m), 30_000)
  execFileSync('pkill', ['-KILL', '-P', String(demo.child.pid), '-f', ' run -c '])
  t.equal(await demo.exited, 1)
  t.match(demo.output(), /Starlane exited unexpectedly \(SIGKILL\); the end of .*starlane\.log:\n.*"event":"ready"/s)
})

t.test(
  'demo --kubernetes --hold: with API servers, and on another port when 80 is in use, it can be driven and observed',
  { timeout: 120_000 },
  async t => {
    const squatter = createServer()
    const taken = await new Promise<boolean>(resolve => {
      squatter.once('error', () => resolve(false))
      squatter.listen(80, '127.96.0.10', () => resolve(true))
    })
    t.teardown(() => squatter.close())
    const demo = startDemo(t, ['demo', '--kubernetes', '--hold'])
    await eventually(() => {
      assert.equal(demo.code(), undefined, demo.output())
      assert.match(demo.output(), /until Ctrl-C/)
    }, 80_000)
    t.match(demo.output(), /rebel-base is on port 8080 instead/, taken ? 'taken' : 'not for this user')
    const admin = /http:\/\/([\d.:]+)\//.exec(demo.output())?.[1] ?? ''

    const second = await run(['demo'])
    t.equal(second.code, 2)
    t.match(second.err, /a demo is already running \(process \d+\)/)

    t.match(await run(['status', '--admin', admin]), { code: 0, out: /cluster-2/ })
    t.match(await run(['demo', 'scale', 'rebel-base', '--replicas=0', '--context', 'cluster-2']), {
      code: 0,
      out: /scaled/,
    })
    const served = (...clusters: string[]) =>
      eventually(async () => {
        const { out } = await run(['services', 'default/rebel-base', '--admin', admin, '-o', 'json'])
        const service = JSON.parse(out)
        const { backends } = Array.isArray(service) ? service[0] : service
        assert.deepEqual([...new Set(backends.map((b: { cluster: string }) => b.cluster))], clusters)
      }, 15_000)
    await served('cluster-1')
    t.match(await run(['demo', 'scale', 'rebel-base', '--replicas=1', '--context', 'cluster-9']), {
      code: 2,
      err: /cluster-9/,
    })

    if (needsKubectl.skip === undefined) {
      const [, command = ''] = /^ *(kubectl --kubeconfig .*) --replicas=0$/m.exec(demo.output()) ?? []
      const [kubectl = '', ...args] = command.split(' ')
      const scale = (replicas: number) => promisify(execFile)(kubectl, [...args, `--replicas=${replicas}`])
      t.match((await scale(2)).stdout, /rebel-base scaled/, 'kubectl accepts the command that it prints')
      await served('cluster-1', 'cluster-2')
      let asking = true
      const asked = askUntil('127.96.0.10', 8080, () => !asking)
      await scale(0)
      await served('cluster-1')
      asking = false
      const { answered, failed } = await asked
      t.equal(failed, 0, 'no request fails while kubectl scales a cluster to zero')
      t.ok(answered > 20)
    }

    demo.child.kill('SIGINT')
    t.equal(await demo.exited, 0)
    t.match(await run(['demo', 'scale', 'rebel-base', '--replicas=1', '--context', 'cluster-2']), {
      code: 1,
      err: /no demo is running/,
    })
  },
)

/**
 * Sequential requests, each on a connection of its own, like curl in a loop: on a kept connection a request may cross the FIN
 * of a pod that stops, and no proxy can repair that.
 */
async function askUntil(host: string, port: number, ends: () => boolean) {
  const tally = { answered: 0, failed: 0 }
  while (!ends()) {
    const answer = await new Promise<string>(resolve => {
      const request = get({ host, port, agent: false }, response => text(response).then(resolve, () => resolve('')))
      request.on('error', () => resolve(''))
    })
    if (answer.includes('Cluster-')) tally.answered++
    else tally.failed++
  }
  return tally
}

function startDemo(t: Test, args: string[]) {
  const child: ChildProcess = spawn(process.execPath, [bin, ...args], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let told = ''
  let ended: number | null | undefined
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', text => {
      told += text
    })
  }
  const exited = new Promise<number | null>(resolve => {
    child.once('exit', code => {
      ended = code
      resolve(code)
    })
  })
  t.teardown(async () => {
    if (ended === undefined) child.kill('SIGINT')
    await exited
  })
  return { child, exited, output: () => told, code: () => ended }
}

function run(args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise(resolve => {
    execFile(process.execPath, [bin, ...args], { env: environment, timeout: 60_000 }, (error, out, err) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, out, err })
    })
  })
}
