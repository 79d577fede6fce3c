/** Faults of the process: reloads, a plugin that blocks, its end. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { longLived } from './load.ts'
import { type Fault, sleep, status, until } from './scene.ts'

export const processFaults: readonly Fault[] = [
  {
    name: '100 reloads, each another configuration',
    run: async ({ stage, starlane }) => {
      for (let i = 0; i < 100; i++) {
        stage.write({ proxy: { limits: { connections: 9000 + i } } })
        starlane.child.kill('SIGHUP')
        await sleep(30)
      }
      return {}
    },
  },
  blocking('a plugin blocks for 50 ms at every hundredth decision', 100, 50),
  blocking('a plugin blocks for 1 s at every 500th decision', 500, 1000),
  {
    name: 'Starlane is killed (SIGKILL), and started again',
    run: async ({ stage, starlane }) => {
      starlane.child.kill('SIGKILL')
      await starlane.ended
      const since = performance.now()
      await stage.run().logged('ready')
      return { healMs: Math.round(performance.now() - since), note: 'by a start from memory' }
    },
  },
]

function blocking(name: string, every: number, ms: number): Fault {
  return {
    name,
    prepare: async stage => {
      writeFileSync(join(stage.folder, 'blocking.ts'), pluginText(every, ms))
      return { config: { plugins: [{ use: './blocking.ts' }] } }
    },
    run: async ({ stage, alsoUnder }) => {
      alsoUnder('established ones', longLived(stage.tcp, 20, 50, 60_000))
      const named = async () => (await status(stage)).problems.find(({ code }) => code === 'PLUGIN_FAULT')
      const detectMs = await until(async () => (await named()) !== undefined, 8000)
      await sleep(8000 - (detectMs ?? 8000))
      const { where, message } = (await named()) ?? {}
      return { detectMs, ...(message && { note: `status names it: ${where}: ${message.replace(/;.*/, '')}` }) }
    },
  }
}

function pluginText(every: number, ms: number): string {
  return `/** Blocks the process now and then. */
import { definePlugin } from 'starlane'

export default definePlugin({
  name: 'blocking',
  options: {},
  onError: 'skip',
  create: (_options, host) => {
    let decisions = 0
    return {
      candidates: (_flow, backends) => {
        const end = host.clock.now() + (++decisions % ${every} === 0 ? ${ms} : 0)
        while (host.clock.now() < end);
        return backends
      },
    }
  },
})
`
}
