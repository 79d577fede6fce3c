/**
 * V8's settings: its own until the process has started, little room for young objects until the heap is large, and more of all for chunks; and the
 * pages that an idle process gives back.
 */
import assert from 'node:assert/strict'
import { fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { settledFlags } from '../../../proxy/model/program/heap.ts'
import { flags } from '../../../scripts/release/executable.ts'
import { eventually } from '../../support/eventually.ts'

interface Told {
  readonly growth: number
  readonly taken: readonly boolean[]
  readonly tag: number
}

const file = new URL('heap-child.ts', import.meta.url)

async function child(heap: number, carries = 'never'): Promise<Told> {
  const process = fork(file, [String(heap), carries], { execArgv: [...flags] })
  const [told] = (await once(process, 'message')) as [Told]
  process.disconnect()
  return told
}

t.test('a small heap keeps its room for young objects, and a large one gets more', async t => {
  const small = await child(0)
  const large = await child(1 << 30)
  t.equal(small.growth, 2, 'both halves')
  t.ok(large.growth > 2 * small.growth, `${large.growth} times`)
  t.same(small.taken, [true, false], 'a start compiles none of the modules of Node')
})

/** What V8 says of its collections, and of whether little is allocated, which it looks at every 8 s. */
function traced(t: Test, carries: string): () => string {
  const execArgv = [...flags, '--trace-gc', '--trace-memory-reducer']
  const process = fork(file, ['0', carries], { execArgv, silent: true })
  t.teardown(() => process.kill())
  let trace = ''
  process.stdout?.on('data', text => {
    trace += text
  })
  return () => trace
}

t.test('what a load has left is given back once little is allocated, unless bytes pass through JavaScript', async t => {
  const idle = traced(t, 'never')
  const carriers = ['in sockets', 'before the start'].map(carries => traced(t, carries))
  const [before, after] = await eventually(() => {
    const reduced = /Mark-Compact \(reduce\) [\d.]+ \(([\d.]+)\) -> [\d.]+ \(([\d.]+)\) MB/.exec(idle())
    assert.ok(reduced, 'not collected yet')
    return reduced.slice(1).map(Number)
  }, 60_000)
  t.ok(Number(after) < Number(before) / 2, `${before} MB, then ${after}`)
  for (const trace of carriers) {
    await eventually(() => assert.ok(trace().split('high alloc').length > 2, 'not asked twice yet'), 60_000)
    t.notMatch(trace(), /low alloc|\(reduce\)/)
  }
})

type Settings = Readonly<Record<string, number | true>>

/** What V8 compares of its settings, in a process that has set these once it ran: at its start it raises some that are low. */
function tagWith(settings: Settings): number {
  const set = Object.entries(settings).map(([name, value]) => `--${name}${value === true ? '' : `=${value}`}`)
  return tag([], `${JSON.stringify(set)}.forEach(each => v8.setFlagsFromString(each));`)
}

function tag(execArgv: readonly string[], first = ''): number {
  const { stdout } = spawnSync(process.execPath, [...execArgv, '-p', `${first}v8.cachedDataVersionTag()`], {
    encoding: 'utf8',
  })
  return Number(stdout)
}

t.test('where node:http2 carries bytes, their memory counts, and a small heap may double for it', async t => {
  const chunks = { ...settledFlags, 'external-memory-accounted-in-global-limit': true } as const
  t.equal((await child(0)).tag, tagWith(settledFlags), 'nobody carries any')
  for (const when of ['before the start', 'after the start']) {
    const small = await child(0, when)
    t.equal(small.tag, tagWith({ ...chunks, 'heap-growing-percent': 100 }), when)
    t.same(small.taken, [true, false], 'a start compiles none of the modules of Node')
  }
  const large = await child(1 << 30, 'before the start')
  const ofLarge = { 'heap-growing-percent': 50, 'semi-space-growth-factor': 2 }
  t.equal(large.tag, tagWith({ ...chunks, ...ofLarge }), 'half of a large heap is more than they need')
})

t.test("the executable's flags are none that V8 compares with those of compiled code", async t => {
  t.ok(tag([]) > 0)
  t.equal(tag(flags), tag([]))
  t.not(tag(['--heap-growing-percent=25']), tag([]), 'such flags there are')
})
