/** Faults of a handover: several successors, one that is killed on the way, a signal or a reload meanwhile, a state folder that is read-only. */
import { spawnSync } from 'node:child_process'
import { closeSync } from 'node:fs'
import { createServer, connect as reach } from 'node:net'
import { join } from 'node:path'
import { findAddon } from '../../proxy/dataplane/native/addon.ts'
import { Channel, protocol } from '../../proxy/handover/messages.ts'
import { descriptorOf } from '../../proxy/model/sockets/passing.ts'
import { longLived, questions } from './load.ts'
import { type Fault, type FaultRow, type Scene, sleep } from './scene.ts'
import type { Stage, Starlane } from './stage.ts'

/** Without the addon nothing is handed over. */
const needsAddon = () => {
  const found = findAddon()
  return 'addon' in found ? undefined : found.why
}

/** Long enough for what is in progress, on a busy machine too. */
const drain = '10s'

export const handoverFaults: readonly Fault[] = [
  fault('six processes take over while reloads are under way', async ({ stage }, current) => {
    let starlane = current
    for (let i = 0; i < 6; i++) {
      stage.write({
        proxy: { drain, limits: { connections: 9000 + i } },
        health: { active: { interval: `${2 + i}s` } },
      })
      const next = stage.run()
      for (let k = 0; k < 8; k++) {
        starlane.child.kill('SIGHUP')
        await sleep(40)
      }
      await next.logged('ready')
      starlane = next
    }
    return {}
  }),
  fault('two processes start at the same time, five times: each takes over in its turn', async ({ stage }) => {
    for (let i = 0; i < 5; i++) {
      const first = stage.run()
      await sleep(60 * i)
      await Promise.all([first, stage.run()].map(each => each.logged('ready')))
    }
    return {}
  }),
  fault('four processes take over, with `proxy.threads` of 2 and 1 in turn', async ({ stage }) => {
    for (const threads of [2, 1, 2, 1]) {
      stage.write({ proxy: { drain, threads } })
      await stage.run().logged('ready')
    }
    return {}
  }),
  fault('a successor is killed, or silent and gone, at each step of the handover', async ({ stage }, starlane) => {
    let failures = 0
    for (const step of ['began', 'hello', 'memories', 'take', 'passed'] as const) {
      starlane.lines.splice(0)
      if (step === 'began') {
        const next = stage.run()
        await starlane.logged('handover.began')
        next.child.kill('SIGKILL')
      } else await leaveAt(stage, step)
      await starlane.logged('handover.failed')
      failures++
    }
    return { note: `${failures} have failed, and the running one went on` }
  }),
  fault('a running process is told to stop (SIGTERM) while its successor takes over', async ({ stage }, starlane) => {
    const next = stage.run()
    await starlane.logged('handover.began')
    starlane.child.kill('SIGTERM')
    await next.logged('ready')
    return { note: `it ended with ${await starlane.ended}` }
  }),
  fault('the state folder is read-only, and three processes take over', async ({ stage }) => {
    const folder = join(stage.folder, 'state')
    const mount = (...args: string[]) => {
      if (spawnSync('mount', args).status !== 0) throw new Error(`mount ${args.join(' ')} fails`)
    }
    mount('--bind', folder, folder)
    try {
      mount('-o', 'remount,ro,bind', folder)
      for (let i = 0; i < 3; i++) await stage.run().logged('ready')
    } finally {
      spawnSync('umount', ['-l', folder])
    }
    return {}
  }),
  {
    name: 'Starlane is killed (SIGKILL), and started again; its parent holds the sockets (LISTEN_FDS)',
    impossible: needsAddon,
    prepare: async stage => {
      const descriptors = await held(stage)
      return {
        run: () => stage.run(undefined, {}, { held: descriptors }),
        close: () => {
          for (const descriptor of descriptors) closeSync(descriptor)
        },
      }
    },
    run: async ({ starlane, again }) => {
      starlane.child.kill('SIGKILL')
      await starlane.ended
      const since = performance.now()
      await again().logged('ready')
      return { healMs: Math.round(performance.now() - since), note: 'what was in progress is reset; new clients wait' }
    },
  },
]

function fault(name: string, run: (scene: Scene, starlane: Starlane) => Promise<Partial<FaultRow>>): Fault {
  return {
    name,
    impossible: needsAddon,
    config: { proxy: { drain } },
    run: async scene => {
      const { stage, starlane, alsoUnder } = scene
      alsoUnder('DNS', questions(stage.dns, 'tcp.default.svc.cluster.local', 100))
      alsoUnder('established ones', longLived(stage.tcp, 20, 50, 500))
      return run(scene, starlane)
    },
  }
}

/** Takes part in a handover as far as this step, and is gone. */
async function leaveAt(stage: Stage, step: 'hello' | 'memories' | 'take' | 'passed'): Promise<void> {
  const channel = new Channel(reach(join(stage.folder, 'state/handover.sock')))
  channel.send({ hello: { starlane: 'handover', protocol, version: 'x', pid: 1, cluster: 'cluster-1' } })
  await channel.receive('hello')
  if (step !== 'hello') while (!(await channel.line()).includes('"end"'));
  if (step === 'take' || step === 'passed') channel.send({ take: true })
  if (step === 'passed') await channel.receive('passed')
  await sleep(200)
  channel.close()
}

/** Sockets of the TCP frontend and of the admin server, at which nobody accepts. */
async function held({ tcp, admin }: Stage): Promise<number[]> {
  const found = findAddon()
  if (!('addon' in found)) throw new Error(found.why)
  const { addon } = found
  return Promise.all(
    [tcp, admin].map(async place => {
      const server = createServer()
      await new Promise<void>((resolve, fail) =>
        server.once('error', fail).listen({ ...place, backlog: 4096 }, resolve),
      )
      const descriptor = addon.passing.duplicate(descriptorOf(server) ?? -1)
      server.close()
      return descriptor
    }),
  )
}
