/**
 * The native engine with three pumps: how clients and frontends are spread over them, and that none is lost on the way. With
 * STARLANE_THREADS=1 (`npm run test:threads`) the conformance suite too.
 */
import { readdirSync, readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { findAddon, type NativeAddon } from '../../../../proxy/dataplane/native/addon.ts'
import { createNativeEngineWith } from '../../../../proxy/dataplane/native/engine.ts'
import { at } from '../../../../proxy/dataplane/native/rings.ts'
import { claimNetwork } from '../../../../scripts/loopback.ts'
import { engineConformance } from '../../../conformance/engine/engine.ts'
import { type CreateEngine, Rig } from '../../../conformance/engine/rig.ts'
import { echo, says, tcpBackend, udpBackend, udpClient } from '../../../support/backend.ts'
import { eventually } from '../../../support/eventually.ts'
import { createPaced } from '../../../support/paced-engine.ts'

const found = findAddon()
if ('why' in found) t.pass(`not tested: ${found.why}`)
else {
  ownSuite(t, found.addon)
  if (process.env.STARLANE_THREADS === '1')
    engineConformance(t, {
      create: parts => createPaced(found.addon, { ...parts, threads: 3 }),
      source: new URL('./three-pumps.ts', import.meta.url),
      export: 'createThreePumps',
      urgentBytes: 'kept',
      accepts: 'when it can',
    })
}

function ownSuite(t: Test, addon: NativeAddon): void {
  t.test('a client goes to the pump with the fewest open connections, in turn among equals', async t => {
    const { events, create } = seen(addon)
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const clients = []
    for (let i = 0; i < 12; i++) clients.push(await rig.client())
    t.same(events(), [8, 8, 8], 'accepted and connected, of four clients each')

    for (const [i, client] of clients.entries()) if (i % 3 === 1) client.resetAndDestroy()
    await eventually(() => {
      if (rig.engine.stats().connections > 8) throw new Error('not all have gone')
    })
    for (let i = 0; i < 4; i++) await rig.client()
    t.same(events(), [8, 8 + 4 + 8, 8], 'four have gone, and four have come')
    t.equal(threads(), 3)
    rig.engine.destroy()
    t.equal(threads(), 0)
    t.same(await rig.settled(), { served: 16, refused: 0, failed: 0 })
  })

  t.test('UDP frontends are spread, and each has its sessions in one pump', async t => {
    const { events, create } = seen(addon)
    const { backend } = await udpBackend(t, (message, reply) => reply(message))
    const network = claimNetwork()
    const ips = [1, 2, 3].map(last => `${network}.${last}`)
    const rig = await Rig.start(t, create, { backends: [backend], protocol: 'UDP', ip: ips[0] ?? '' })
    const [frontend, service] = rig.service([backend])
    for (const ip of ips.slice(1)) {
      const listener = await rig.engine.listen({ ...frontend, ip, key: `${ip}:${rig.port}/UDP` }, service)
      t.teardown(() => listener.close())
    }
    for (const [i, ip] of ips.entries())
      for (let n = 0; n < 2; n++) {
        const { socket, got } = await udpClient(t)
        socket.send(`${i}`, rig.port, ip)
        t.equal(String(await eventually(() => got.shift() ?? Promise.reject(new Error('no answer')))), `${i}`)
      }
    t.same(events(), [4, 4, 4], 'asked and answered, of two clients each')
  })

  t.test('a socket is passed on while clients come, and none of them is refused', async t => {
    const { create } = seen(addon)
    const { backend } = await tcpBackend(t, says('hello'))
    const rig = await Rig.start(t, parts => create({ ...parts, calls: addon.passing }), { backends: [backend] })
    let isOver = false
    let asked = 0
    const visitors = Array.from({ length: 12 }, async () => {
      for (; !isOver; asked++) if ((await rig.ask()) !== 'hello') throw new Error('not served')
    })
    for (let round = 0; round < 20; round++) {
      const before = asked
      rig.listener = await rig.engine.listen(...rig.service([backend]), rig.listener, await rig.listener.pass())
      await eventually(() => {
        if (asked === before) throw new Error('nobody was served')
      })
    }
    isOver = true
    await Promise.all(visitors)
    t.same(await rig.settled(), { served: asked, refused: 0, failed: 0 })
  })
}

/** An engine with three pumps, and how many events each of them has sent. */
function seen(addon: NativeAddon): { events(): number[]; create: CreateEngine } {
  const memories: ArrayBuffer[] = []
  class Pump extends addon.Pump {
    constructor(...given: ConstructorParameters<NativeAddon['Pump']>) {
      super(...given)
      memories.push(this.memory)
    }
  }
  return {
    events: () => memories.map(memory => new Int32Array(memory)[at.eventHead] ?? 0),
    create: parts => createNativeEngineWith({ ...addon, Pump }, { ...parts, threads: 3 }),
  }
}

/** Pumps in this process, by the name of their threads. */
function threads(): number {
  return readdirSync('/proc/self/task').filter(task => {
    try {
      return readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim() === 'starlane pump'
    } catch {
      return false // it has just ended
    }
  }).length
}
