/** A backend that is checked and up gets the flows while another one has never been checked, with each engine. */
import assert from 'node:assert/strict'
import { createServer, type ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { eventually } from '../../support/eventually.ts'
import { createWorld } from '../../support/world.ts'

for (const engine of process.env.STARLANE_NATIVE === '0' ? ['streams'] : ['auto', 'streams']) {
  t.test(`${engine}: a backend that is up is preferred to one that has never been checked`, async t => {
    const active = { type: 'http', path: '/healthz', interval: '10s', timeout: '10s', rise: 1 }
    const world = await createWorld(t, { config: { proxy: { engine }, health: { active } } })
    const [vip, a, b] = [world.ip(1), world.ip(11), world.ip(21)]
    const checks: ServerResponse[] = []
    await serve(t, a, 'a', response => response.end())
    await serve(t, b, 'b', response => checks.push(response))
    await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: a }] })
    await world.start()
    const health = (ip: string) => {
      const service = world.runtime().service('default', 'rebel-base')
      return service?.backends.find(({ address }) => address === ip)?.health
    }
    await eventually(() => assert.equal(health(a), 'up'))

    await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: a }, { ip: b }] })
    await eventually(() => assert.equal(checks.length, 1))
    t.equal(health(b), 'unknown', 'its first check is not answered yet')
    const heard = []
    for (let i = 0; i < 12; i++) heard.push(await ask(vip))
    t.same(new Set(heard), new Set(['a']))

    for (const response of checks) response.end()
    await eventually(() => assert.equal(health(b), 'up'))
    await eventually(async () => assert.equal(await ask(vip), 'b'))
    t.pass('and is used as soon as it is up')
  })
}

async function serve(t: Test, ip: string, name: string, check: (response: ServerResponse) => void): Promise<void> {
  const server = createServer((request, response) => {
    if (request.url === '/healthz') check(response)
    else response.setHeader('connection', 'close').end(name)
  })
  await new Promise<void>(resolve => server.listen(8000, ip, resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
}

async function ask(vip: string): Promise<string> {
  return (await fetch(`http://${vip}:7000/`, { headers: { connection: 'close' } })).text()
}
