/**
 * The package and its unit under a real systemd: installation, readiness, the watchdog, reloads and upgrades by handover, restarts, sockets
 * that systemd holds, the sandbox.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { architectures } from '../../../scripts/release/architecture.ts'
import { bundle } from '../../../scripts/release/bundle.ts'
import { makeExecutable } from '../../../scripts/release/executable.ts'
import { makeDeb } from '../../../scripts/release/packages.ts'
import { eventually } from '../../support/eventually.ts'
import { System, whyNoSystemd } from './system.ts'

const skip = process.env.STARLANE_SYSTEMD ? whyNoSystemd() : 'takes a minute and a half: npm run test:systemd'
const root = process.cwd()
const configuration = `cluster: one
clusters:
  - name: one
    id: 1
    source: { manifests: /etc/starlane/one }
state: /var/lib/starlane
dns: { listen: 127.0.0.1:53, upstream: [] }
proxy:
  vips: { cidr: 127.96.0.0/16 }
  announce: 0s
  drain: 5s
`
const service = `apiVersion: v1
kind: Service
metadata: { name: echo, namespace: default, annotations: { service.cilium.io/global: "true" } }
spec: { clusterIP: 10.96.0.10, ports: [{ name: http, port: 80 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: echo-1, namespace: default, labels: { kubernetes.io/service-name: echo } }
addressType: IPv4
ports: [{ name: http, port: 8080, protocol: TCP }]
endpoints: [{ addresses: [127.2.0.11], conditions: { ready: true } }]
`
/** Answers at once, and at /slow with 30 lines in 3 s. */
const backend = `require('node:http').createServer(async (request, response) => {
  for (let line = 0; request.url === '/slow' && line < 30; line++) {
    response.write(line + '\\n')
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  response.end('hello\\n')
}).listen(8080, '127.2.0.11')`

t.test('the package under systemd', { skip }, async t => {
  const system = await System.boot()
  t.teardown(() => system.removed())
  const folder = t.testdir({})
  const deb = await packed(folder)
  system.write('/root/starlane.deb', readFileSync(deb))
  const of = (name: string) => system.property('starlane', name)
  const active = (more: () => void = () => {}) =>
    eventually(() => {
      assert.equal(of('ActiveState'), 'active')
      more()
    })
  const ask = () => system.run('curl -s -m 20 http://$(dig +short @127.0.0.1 echo.default.svc.cluster.local)/')

  await t.test('installs the unit, not enabled, and a user for it', async t => {
    system.run('dpkg -i /root/starlane.deb')
    t.match(system.run('id starlane'), /\(starlane\)/)
    t.match(system.run('stat -c "%U %G %a" /etc/starlane/starlane.yaml'), 'root starlane 640')
    t.equal(of('UnitFileState'), 'disabled')
    t.equal(system.run('systemd-analyze verify starlane.service starlane.socket 2>&1'), '', 'systemd has no complaint')
    const [, exposure = '10'] =
      /level for starlane.service: ([\d.]+)/.exec(system.run('systemd-analyze security starlane')) ?? []
    t.ok(Number(exposure) < 2, `systemd-analyze security: ${exposure}`)
  })

  await t.test('Type=notify: a start ends when it serves', async t => {
    system.write('/etc/starlane/starlane.yaml', configuration)
    system.write('/etc/starlane/one/echo.yaml', service)
    system.write('/root/backend.cjs', backend)
    system.run(`systemd-run --unit=backend ${process.execPath} /root/backend.cjs`)
    await eventually(() => system.run('curl -s http://127.2.0.11:8080/'))
    system.run('systemctl start starlane')
    t.equal(of('ActiveState'), 'active')
    t.equal(ask(), 'hello', 'at once, by a port below 1024')
    t.equal(system.run(`ps -o user= -p ${of('MainPID')}`), 'starlane')
    t.match(system.run('starlane status'), /native/, 'the addon can be extracted and loaded')
  })

  /** What clients saw while `work` was done: as many requests as there was time for, and one that takes 3 s. */
  async function underLoad(work: () => void | Promise<void>): Promise<{ answers: string[]; slow: string }> {
    system.write(
      '/root/load',
      `vip=$(dig +short @127.0.0.1 echo.default.svc.cluster.local)
curl -s -m 30 http://$vip/slow > /tmp/slow &
until [ -e /tmp/enough ]; do
  curl -s -o /dev/null -m 30 http://$vip/ && echo ok || echo "lost $?"
done > /tmp/answers
wait
echo done > /tmp/ended
`,
    )
    system.run(
      'rm -f /tmp/enough /tmp/ended /tmp/answers; systemctl reset-failed; systemd-run --collect bash /root/load',
    )
    const answers = () => system.read('/tmp/answers').trim().split('\n')
    await eventually(() => assert.ok(answers().length > 5))
    await work()
    const before = answers().length
    await eventually(() => assert.ok(answers().length > before + 5))
    system.write('/tmp/enough', '')
    await eventually(() => system.read('/tmp/ended'))
    return { answers: [...new Set(answers())], slow: system.read('/tmp/slow').trim().split('\n').at(-1) ?? '' }
  }

  await t.test('a reload is a handover: another main process, and nothing is lost', async t => {
    const before = of('MainPID')
    const seen = await underLoad(() => {
      system.run('systemctl reload starlane')
      return active(() => assert.notEqual(of('MainPID'), before))
    })
    t.same(seen, { answers: ['ok'], slow: 'hello' }, 'a connection of 3 s goes on in the old process')
    t.equal(of('NRestarts'), '0')
  })

  await t.test('SIGHUP reads the configuration', async t => {
    const before = of('MainPID')
    system.write('/etc/starlane/starlane.yaml', configuration.replace('drain: 5s', 'drain: 6s'))
    system.run('systemctl kill --signal=HUP --kill-whom=main starlane')
    await eventually(() => assert.match(system.run('curl -s 127.0.0.1:9911/v1/config'), /"drain":6000/))
    t.equal(of('MainPID'), before)
  })

  await t.test('a restart keeps the sockets: clients wait, and nobody is refused', async t => {
    const before = of('MainPID')
    const seen = await underLoad(() => void system.run('systemctl restart starlane'))
    t.same(seen, { answers: ['ok'], slow: 'hello' })
    t.not(of('MainPID'), before)
    t.equal(of('NFileDescriptorStore'), '0', 'they were taken out of the store')
  })

  await t.test('an upgrade of the package is a handover to the new executable', async t => {
    const before = of('MainPID')
    const seen = await underLoad(() => {
      system.run('dpkg -i /root/starlane.deb')
      return active(() => assert.notEqual(of('MainPID'), before))
    })
    t.same(seen, { answers: ['ok'], slow: 'hello' })
    t.match(system.read('/etc/starlane/starlane.yaml'), /drain: 6s/, 'the configuration stays')
  })

  await t.test('the watchdog: a process that stands still is killed and started again', async t => {
    system.write('/run/systemd/system/starlane.service.d/test.conf', '[Service]\nWatchdogSec=1s\n')
    system.run('systemctl daemon-reload && systemctl restart starlane')
    const before = of('MainPID')
    // Longer than the watchdog waits: a process that runs tells that it does.
    system.run('sleep 3')
    t.equal(of('MainPID'), before)
    system.run(`kill -STOP ${before}`)
    await active(() => assert.equal(of('NRestarts'), '1'))
    t.match(system.run('journalctl -u starlane -o cat'), /Watchdog timeout/)
    t.equal(ask(), 'hello')
  })

  await t.test('sockets of a unit outlive a process that is killed: clients wait in them', async t => {
    const vip = system.run('dig +short @127.0.0.1 echo.default.svc.cluster.local')
    system.run('systemctl stop starlane')
    system.write(
      '/run/systemd/system/starlane.socket.d/test.conf',
      `[Socket]\nListenStream=\nListenStream=127.0.0.1:53\nListenDatagram=127.0.0.1:53\nListenStream=${vip}:80\nFreeBind=yes\n`,
    )
    system.run('systemctl daemon-reload && systemctl start starlane.socket')
    t.equal(of('ActiveState'), 'inactive')
    t.equal(ask(), 'hello', 'the first question starts it')
    t.equal(of('ActiveState'), 'active')
    const before = of('MainPID')
    const seen = await underLoad(() => {
      system.run(`kill -KILL ${before}`)
      return active(() => assert.notEqual(of('MainPID'), before))
    })
    t.notOk(seen.answers.includes('lost 7'), `nobody is refused: ${seen.answers}`)
    system.run(
      'systemctl stop starlane.socket starlane 2>&1; rm -r /run/systemd/system/starlane.socket.d; systemctl daemon-reload',
    )
  })

  await t.test('a configuration with a fault is said in the journal', async t => {
    system.run('systemctl start starlane')
    const before = of('MainPID')
    system.write('/etc/starlane/starlane.yaml', 'cluster: one\nclusterz: []\n')
    t.throws(() => system.run('starlane validate -c /etc/starlane/starlane.yaml'), /starlane\.yaml:2/)
    system.run('systemctl reload starlane')
    await eventually(() => assert.match(system.run('journalctl -u starlane -o cat'), /clusterz/))
    t.equal(of('MainPID'), before, 'the running process goes on')
    t.equal(ask(), 'hello')
  })

  await t.test('is stopped by the removal, and the configuration stays until it is purged', async t => {
    system.run('dpkg -r starlane')
    t.equal(system.run('pgrep -u starlane || true'), '')
    t.match(system.read('/etc/starlane/starlane.yaml'), /clusterz/)
    system.run('dpkg --purge starlane')
    t.notOk(system.run('ls /etc/starlane').includes('starlane.yaml'))
  })
})

/** As `npm run release` makes it, for this machine. */
async function packed(folder: string): Promise<string> {
  const [executable, output] = [join(folder, 'starlane'), join(folder, 'starlane.deb')]
  const architecture = architectures.find(({ node }) => node === process.arch)
  assert.ok(architecture, 'a release is made for this kind of machine')
  const addon = join(root, 'native/build/starlane.node')
  assert.ok(existsSync(addon), 'npm run build:native')
  const [making, packing] = ['making', 'packing'].map(name => join(folder, name)) as [string, string]
  for (const work of [making, packing]) mkdirSync(work)
  await makeExecutable({
    root,
    work: making,
    node: process.execPath,
    bundle: await bundle(root),
    addon,
    native: true,
    output: executable,
  })
  makeDeb({ root, work: packing, executable, version: '9.9.9', architecture, made: new Date(0), output })
  return output
}
