/** Faults of the machine: its disk, its memory, its clock. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isOwnNamespace } from '../../bench/namespace.ts'
import { MemoryGroup, noMemoryGroup } from './memory-group.ts'
import { backends, type Fault, type FaultRow, link, type Scene, sleep, status, until } from './scene.ts'
import type { Stage } from './stage.ts'

/** Of the network namespace. */
const portRange = '/proc/sys/net/ipv4/ip_local_port_range'

export const machineFaults: readonly Fault[] = [
  {
    name: 'the disk of `state` and of the recorder is full',
    impossible: () => (process.getuid?.() === 0 ? undefined : 'needs root, to mount a small disk'),
    prepare: async stage => {
      const disk = join(stage.folder, 'disk')
      mkdirSync(disk)
      const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m,mode=0700', 'starlane-faults', disk])
      if (status !== 0) throw new Error('a small disk cannot be mounted')
      return {
        config: { state: './disk/state', recorder: { file: { path: './disk/flows', maxSize: '1MiB', keep: 1 } } },
        close: () => void spawnSync('umount', ['-l', disk]),
      }
    },
    run: async ({ stage, ips }) => {
      const filler = join(stage.folder, 'disk/filler')
      const full = openSync(filler, 'w')
      try {
        for (;;) writeSync(full, Buffer.alloc(4096))
      } catch {}
      closeSync(full)
      const isTold = async () => (await status(stage)).problems.some(({ code }) => code === 'STATE')
      stage.declareOther('other', 7009, ips.slice(1))
      const detectMs = await until(isTold, 60_000)
      rmSync(filler)
      stage.declareOther('other', 7010, ips.slice(1))
      return {
        detectMs,
        healMs: await until(async () => !(await isTold()), 60_000),
        note: 'detected: `STATE` in status',
      }
    },
  },
  {
    name: 'its descriptors are used up: it may have 256, and 400 clients hold connections for 5 s',
    prepare: async stage => ({ run: () => stage.run(undefined, {}, { descriptors: 256 }) }),
    run: scene => whileHeld(scene, 400),
  },
  {
    name: 'the ports of the machine are used up: it has 500, and 1600 clients hold connections for 5 s',
    impossible: () => (isOwnNamespace() ? undefined : 'needs a network namespace of its own'),
    prepare: async () => {
      const before = readFileSync(portRange, 'utf8')
      writeFileSync(portRange, '20000 20499')
      return { close: () => writeFileSync(portRange, before) }
    },
    run: scene => whileHeld(scene, 1600),
  },
  {
    name: 'its cgroup has no memory left; the kernel ends the process that takes it',
    impossible: noMemoryGroup,
    run: scene => inMemoryGroup(scene, { other: 900, starlane: 0 }),
  },
  {
    name: 'its cgroup has no memory left; the kernel ends Starlane, and it is started again',
    impossible: noMemoryGroup,
    run: scene => inMemoryGroup(scene, { other: 0, starlane: 900 }),
  },
  {
    name: 'the clock jumps an hour ahead, two back, and right again',
    impossible: () => (compiled() ? undefined : 'needs a C compiler'),
    prepare: async stage => {
      const file = join(stage.folder, 'clock')
      writeFileSync(file, Buffer.alloc(8))
      return { env: { LD_PRELOAD: compiled() ?? '', STARLANE_CLOCK: file } }
    },
    run: async ({ stage, starlane, ips }) => {
      const file = join(stage.folder, 'clock')
      const jumps: number[] = []
      for (const seconds of [3600, -3600, 0]) {
        const bytes = Buffer.alloc(8)
        bytes.writeBigInt64LE(BigInt(seconds))
        const open = openSync(file, 'r+')
        writeSync(open, bytes, 0, 8, 0)
        closeSync(open)
        await sleep(2000)
        starlane.lines.splice(0)
        starlane.child.kill('SIGHUP')
        const { time } = await starlane.logged('reload.done')
        jumps.push(Math.round((Date.parse(String(time)) - Date.now()) / 1000))
      }
      const up = (await backends(stage)).filter(({ health }) => health === 'up').length
      const links = await Promise.all(['cluster-1', 'cluster-2'].map(cluster => link(stage, cluster)))
      return {
        note: `its log was off by ${jumps.join(', ')} s; afterwards ${up} of ${ips.length} backends up, links ${links.join(', ')}`,
      }
    },
  },
]

/** So many clients, of four addresses, connect and stay. Detected: the log says that flows are refused; healed: requests are answered. */
async function whileHeld({ stage, starlane }: Scene, count: number): Promise<Partial<FaultRow>> {
  starlane.lines.splice(0)
  const since = performance.now()
  const clients = Array.from({ length: count }, (_, i) => {
    const socket = connect({ ...stage.tcp, localAddress: stage.ip(40 + (i % 4)) })
    socket.on('error', () => {}).on('connect', () => socket.write('.'))
    return socket
  })
  const codes = () => starlane.lines.filter(({ event }) => event === 'flow.refused').map(({ code }) => code)
  const detectMs = await until(() => codes().length > 0, 5000)
  await sleep(since + 5000 - performance.now())
  const held = clients.filter(({ bytesRead }) => bytesRead > 0).length
  for (const socket of clients) socket.destroy()
  const healMs = await until(() => isAnswered(stage), 20_000)
  const refused = [...new Set(codes())].join(', ')
  const up = (await backends(stage)).filter(({ health }) => health === 'up').length
  return {
    detectMs,
    healMs,
    note: `${held} of them were served; the log says ${refused || 'nothing'}; ${up} of 3 backends up`,
  }
}

/** Twenty requests, one after the other. */
async function isAnswered(stage: Stage): Promise<boolean> {
  for (let i = 0; i < 20; i++) {
    const socket = connect(stage.tcp)
    const isGood = await new Promise<boolean>(resolve => {
      socket
        .on('data', () => resolve(true))
        .on('close', () => resolve(false))
        .on('error', () => resolve(false))
      socket.write('.')
    })
    socket.destroy()
    if (!isGood) return false
  }
  return true
}

/** Another process takes all memory of the group. `scores`: what is added to the scores by which the kernel chooses (`oom_score_adj`). */
async function inMemoryGroup(
  { stage, starlane }: Scene,
  scores: { readonly other: number; readonly starlane: number },
): Promise<{ detectMs?: number | undefined; healMs?: number; note: string }> {
  const group = new MemoryGroup(400)
  let hog: ChildProcess | undefined
  try {
    group.take(starlane.pid)
    let ended = ''
    void starlane.ended.then(code => {
      ended ||= `Starlane ended by ${code}`
    })
    const script = 'const kept = []; setInterval(() => kept.push(Buffer.alloc(8 << 20, 1)), 20)'
    hog = spawn(process.execPath, ['-e', script], { stdio: 'ignore' })
    writeFileSync(`/proc/${hog.pid}/oom_score_adj`, String(scores.other))
    writeFileSync(`/proc/${starlane.pid}/oom_score_adj`, String(scores.starlane))
    group.take(hog.pid ?? 0)
    hog.once('exit', (_code, signal) => {
      ended ||= `the other process ended by ${signal}`
    })
    const detectMs = await until(() => ended !== '', 30_000)
    if (!ended.startsWith('Starlane')) return { detectMs, note: ended || 'nothing was ended' }
    hog.kill('SIGKILL')
    const since = performance.now()
    await stage.run().logged('ready')
    return { detectMs, healMs: Math.round(performance.now() - since), note: `${ended}; a start from memory` }
  } finally {
    hog?.kill('SIGKILL')
    group.close()
  }
}

let library: string | undefined | null = null

/** The path of clock.c, compiled; undefined without a compiler. */
function compiled(): string | undefined {
  if (library !== null) return library
  const path = join(tmpdir(), `starlane-faults-clock-${process.pid}.so`)
  const source = fileURLToPath(new URL('clock.c', import.meta.url))
  const { status } = spawnSync(process.env.CC ?? 'cc', ['-std=gnu11', '-O2', '-shared', '-fPIC', '-o', path, source])
  process.once('exit', () => rmSync(path, { force: true }))
  library = status === 0 ? path : undefined
  return library
}
