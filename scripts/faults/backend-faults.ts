/** Faults of a backend, and of the way to it. */
import { killable, resetting, restarting, silenced, slow, stoppable } from './faulty.ts'
import { longLived } from './load.ts'
import {
  backends,
  type Fault,
  type FaultRow,
  type Faulty,
  isBad,
  nft,
  noNft,
  type Scene,
  sleep,
  until,
  verdict,
} from './scene.ts'
import type { Stage } from './stage.ts'

export const backendFaults: readonly Fault[] = [
  { name: 'a backend is killed, and comes back', backend: killable, run: verdictRun },
  { name: 'a backend resets every connection', backend: resetting, run: healthRun },
  { name: 'a backend is stopped (SIGSTOP): it connects and never answers', backend: stoppable, run: pauseRun },
  {
    name: 'a backend is stopped (SIGSTOP), with `health.passive.firstByte: 500ms`',
    backend: stoppable,
    config: { health: { passive: { firstByte: '500ms' } } },
    run: verdictRun,
  },
  { name: 'a backend is slow: it answers after 1 s', backend: slow, run: pauseRun },
  {
    name: 'a backend is slow: it answers after 1 s, with `health.passive.firstByte: 500ms`',
    backend: slow,
    config: { health: { passive: { firstByte: '500ms' } } },
    run: verdictRun,
  },
  { name: 'a backend is cut off: its packets are dropped', impossible: noNft, backend: silenced, run: verdictRun },
  {
    name: 'the host of a backend restarts in a moment: its connections are half open',
    impossible: noNft,
    backend: restarting,
    run: async ({ stage, alsoUnder }, faulty) => {
      const held = longLived(stage.tcp, 30, 100, 60_000)
      await until(() => held.tally.answered >= 60, 5000)
      const lost = () => Object.values(held.tally.failed).reduce((sum, count) => sum + count, 0)
      await faulty.fail()
      const since = performance.now()
      const firstMs = await until(() => lost() > 0, 20_000)
      let [count, at] = [lost(), performance.now()]
      while (performance.now() - at < 2000) {
        if (lost() > count) [count, at] = [lost(), performance.now()]
        await sleep(10)
      }
      alsoUnder('connections that speak every 100 ms', held)
      return {
        detectMs: firstMs,
        note: `${count} established ones are reset at their next byte, the last after ${Math.round(at - since)} ms; a silent one is found by keep-alive (native 180 s, streams 5 s)`,
      }
    },
  },
  {
    name: '2% of all packets are lost for 5 s',
    impossible: noNft,
    run: async () => {
      // Many kernels have no netem; a packet that is dropped on its way in is lost as well.
      const lossy = `table inet starlane-fault { chain input { type filter hook input priority 0; policy accept;
        numgen random mod 100 < 2 drop; }; }`
      if (!nft(lossy)) throw new Error('nft does not take the rule that loses packets')
      await sleep(5000)
      nft('delete table inet starlane-fault')
      return {}
    },
  },
]

/** By the health that status shows. */
async function verdictRun({ stage, ips: [first = ''] }: Scene, faulty: Faulty): Promise<Partial<FaultRow>> {
  await faulty.fail()
  const detectMs = await until(async () => isBad(await verdict(stage, first)), 20_000)
  await sleep(1000)
  await faulty.heal()
  return { detectMs, healMs: await until(async () => !isBad(await verdict(stage, first)), 60_000) }
}

/** One that connects passes its checks: what traffic finds counts, or breakers do. */
async function healthRun({ stage, ips: [first = ''] }: Scene, faulty: Faulty): Promise<Partial<FaultRow>> {
  await faulty.fail()
  const detectMs = await until(
    async () => isBad(await verdict(stage, first)) || (await isAvoided(stage, first)),
    20_000,
  )
  await sleep(2000)
  await faulty.heal()
  const isUsed = async () => !isBad(await verdict(stage, first)) && !(await isAvoided(stage, first))
  return { detectMs, healMs: await until(isUsed, 60_000) }
}

async function pauseRun({ stage, ips: [first = ''] }: Scene, faulty: Faulty): Promise<Partial<FaultRow>> {
  await faulty.fail()
  await sleep(4000)
  const isNoticed = isBad(await verdict(stage, first))
  await faulty.heal()
  return {
    note: isNoticed ? 'noticed' : 'tcp checks do not notice it; see the next row, or use `health.active.type: http`',
  }
}

async function isAvoided(stage: Stage, ip: string): Promise<boolean> {
  const found = (await backends(stage)).find(({ address }) => address === ip)
  return found?.notes?.['circuit-breaker']?.state === 'open'
}
