/** Which engine a configuration gets, and the build of the native one. */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { createEngine } from '../../../proxy/dataplane/engines.ts'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { plainOptions } from '../../conformance/engine/rig.ts'
import { FakeChooser } from '../../support/chooser.ts'
import { FakeClock } from '../../support/clock.ts'

const builder = fileURLToPath(new URL('../../../native/build.js', import.meta.url))
const parts = { chooser: new FakeChooser(), options: plainOptions, clock: new FakeClock(), log: silentLog }
const nowhere = () => ({ why: 'it was not built' })

t.test('auto is native where it was built, and streams otherwise, saying why', async t => {
  const names = (env: Record<string, string>, find = findAddon) => {
    const { engine, whyNotNative } = createEngine('auto', parts, env, find)
    engine.destroy()
    return [engine.name, whyNotNative]
  }
  t.same(names({}, nowhere), ['streams', 'it was not built'])
  t.same(names({ STARLANE_NATIVE: '0' }), ['streams', 'STARLANE_NATIVE=0 is set'])
  if ('addon' in findAddon()) t.same(names({}), ['native', undefined])
})

t.test('streams is never asked why, and native is not replaced in silence', async t => {
  const { engine, whyNotNative } = createEngine('streams', parts, {}, nowhere)
  t.same([engine.name, whyNotNative], ['streams', undefined])
  engine.destroy()
})

t.test('the build as an install script', async t => {
  const folder = t.testdir({ into: {} })
  const into = join(folder, 'into')
  /** A compiler that takes no time: writes where it is told to, and a list of its calls. */
  const compiler = join(folder, 'c++')
  const write = (body: string) => {
    writeFileSync(compiler, `#!/bin/sh\necho "$@" >> ${folder}/calls\n${body}\n`)
    chmodSync(compiler, 0o755)
  }
  const build = (env: Record<string, string>, ...more: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [builder, `--into=${into}`, ...more], {
      env: { PATH: '/nowhere', ...env },
      encoding: 'utf8',
    })
    return { status, lines: `${stdout}${stderr}`.trim().split('\n') }
  }
  const why = () => Object.values(findAddon([into]))[0]

  t.test('without a compiler: one line, and no failure unless it was asked for by name', async t => {
    const installed = build({}, '--optional')
    t.match(installed, { status: 0, lines: [/^native: not built: there is no C\+\+ compiler; install g\+\+.*streams/] })
    t.equal(installed.lines.length, 1)
    t.match(why(), /was not built: there is no C\+\+ compiler/, 'who looks for it later is told why')
    t.match(build({}), { status: 1 })
  })

  t.test('STARLANE_NATIVE=0 skips it', async t => {
    t.match(build({ STARLANE_NATIVE: '0', CXX: compiler }, '--optional'), { status: 0, lines: [/STARLANE_NATIVE=0/] })
  })

  t.test('a compiler that fails: its first complaint, in one line', async t => {
    write('case "$1" in --version) ;; *) echo "x.cc:1: error: no such header" >&2; echo more >&2; exit 1;; esac')
    const { status, lines } = build({ CXX: compiler }, '--optional')
    t.equal(status, 0)
    t.match(lines, [/^native: not built: .* ended with 1: x\.cc:1: error: no such header/])
    t.equal(lines.length, 1)
  })

  t.test('what is up to date is not built again', async t => {
    write('while [ $# -gt 0 ]; do [ "$1" = -o ] && : > "$2"; shift; done')
    t.match(build({ CXX: compiler, PATH: '/bin:/usr/bin' }, '--optional'), { status: 0, lines: [/^native: built in /] })
    t.ok(existsSync(join(into, 'starlane.node')))
    t.notOk(existsSync(join(into, 'reason')), 'the reason of an earlier failure is gone')
    const calls = () =>
      readFileSync(join(folder, 'calls'), 'utf8')
        .split('\n')
        .filter(line => line.includes('-o')).length
    const before = calls()
    const again = build({ CXX: compiler, PATH: '/bin:/usr/bin' }, '--optional')
    t.match(again, { lines: ['native: up to date'] })
    t.equal(calls(), before)
  })

  t.test('the programs for the kernel are part of it, or the reason why they are not', async t => {
    write('while [ $# -gt 0 ]; do [ "$1" = -o ] && : > "$2"; shift; done')
    const binding = (env: Record<string, string>) => {
      rmSync(join(folder, 'calls'))
      build({ CXX: compiler, PATH: '/bin', ...env }, '--optional')
      const lines = readFileSync(join(folder, 'calls'), 'utf8').split('\n')
      return lines.find(line => line.includes('/kernel-binding.cc')) ?? ''
    }
    const none = { CLANG: '/nowhere/clang', PATH: '/nowhere:/bin' }
    const without = spawnSync('/bin/sh', ['-c', 'command -v clang'], { env: { PATH: none.PATH } }).status !== 0
    if (without) t.match(binding(none), /-DSTARLANE_STEERING_WHY="there was no clang when it was built"/)
    const clang = join(folder, 'clang')
    writeFileSync(
      clang,
      '#!/bin/sh\n[ "$1" = --version ] || echo "x.c:1: error: unknown target" >&2; [ "$1" = --version ]\n',
    )
    chmodSync(clang, 0o755)
    t.match(binding({ CLANG: clang }), /-DSTARLANE_STEERING_WHY=".*ended with 1: x\.c:1: error: unknown target"/)
    writeFileSync(clang, '#!/bin/sh\necho 2\n')
    t.match(binding({ CLANG: clang }), /-DSTARLANE_STEERING=".*\/objects\/steering\.bpf\.o"/)
  })
})
