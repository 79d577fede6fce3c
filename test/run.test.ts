// The test runner counts, reports and ends files as it should.
import { execFile } from 'node:child_process'
import t, { type Test } from 'tap'

// Fixtures are written to .tap in the checkout, where `import 'tap'` finds the package.
async function run(
  t: Test,
  files: Record<string, string>,
  ...args: string[]
): Promise<{ code: number; lines: string[] }> {
  const folder = t.testdir(Object.fromEntries(Object.entries(files).map(([name, body]) => [`${name}.test.ts`, body])))
  return new Promise(resolve => {
    execFile(process.execPath, ['test/run.ts', folder, ...args], (error, stdout, stderr) => {
      const lines = (stdout + stderr).trimEnd().split('\n')
      resolve({ code: error === null ? 0 : Number(error.code), lines })
    })
  })
}

const tap = (body: string) => `import t from 'tap'\n${body}\n`

t.test('only leaf assertions are counted', async t => {
  const { code, lines } = await run(t, {
    one: tap(`t.ok(true); t.test('a', async t => { t.ok(true); t.test('b', async t => { t.ok(true) }) })`),
    two: tap(`const n: number = 1\nt.equal(n, 1)`),
  })
  t.equal(lines.at(-1), '4 passed, 0 failed')
  t.equal(code, 0)
  t.match(lines.join('\n'), /^ok {4} +\d+\.\d\d s {2}\S*one\.test\.ts {2}3 passed$/m)
})

t.test('an assertion failing in nested subtests is one failure, shown in full', async t => {
  const { code, lines } = await run(t, {
    one: tap(
      `t.test('a', async t => { t.test('b', async t => { t.same({ x: 'left' }, { x: 'right' }, 'sides'); t.ok(1) }) })`,
    ),
  })
  t.equal(lines.at(-1), '1 passed, 1 failed')
  t.equal(code, 1)
  t.match(lines.join('\n'), /not ok {2}a > b > sides[\s\S]*-.*right[\s\S]*\+.*left/)
  t.match(lines.at(-2), /^FAIL .*one\.test\.ts {2}a > b > sides$/)
})

t.test('subtests that run in parallel are counted the same way', async t => {
  const body = `t.jobs = 2
    t.test('a', { buffered: true }, async t => { t.ok(1); t.test('in', async t => { t.ok(0, 'bad'); t.ok(1) }) })
    t.test('b', { buffered: true }, async t => { t.ok(1) })`
  const { lines } = await run(t, { one: tap(body) })
  t.equal(lines.at(-1), '3 passed, 1 failed')
})

t.test('a test without assertions counts once, and fails when it throws', async t => {
  const { lines } = await run(t, {
    one: tap(`t.test('a', async () => {}); t.test('b', async () => { throw new Error('boo') })`),
  })
  t.equal(lines.at(-1), '1 passed, 1 failed')
  t.match(lines.join('\n'), /not ok {2}b > boo/)
})

t.test('an unmet plan is a failure', async t => {
  const { code, lines } = await run(t, {
    few: tap(`t.test('a', async t => { t.plan(2); t.ok(1) })`),
    many: tap(`t.test('a', async t => { t.plan(1); t.ok(1); t.ok(1) })`),
  })
  t.equal(lines.at(-1), '2 passed, 3 failed', 'tap reports the extra assertion and its test')
  t.equal(code, 1)
})

t.test('a promise that never settles is a failure', async t => {
  const { lines } = await run(t, { one: tap(`t.test('a', async t => { t.ok(1); await new Promise(() => {}) })`) })
  t.match(lines.at(-1), /^1 passed, 1 failed$/)
})

t.test('skips and todos are reported with their reason, before the last line', async t => {
  const { code, lines } = await run(t, {
    part: tap(`t.test('digs', { skip: 'no dig here' }, async () => {}); t.ok(1); t.todo('later')`),
    whole: tap(`t.plan(0, 'needs root')`),
  })
  t.same(lines.slice(-2), ['3 skipped', '1 passed, 0 failed'])
  t.equal(code, 0)
  t.match(lines.join('\n'), /skip {2}digs: no dig here\n {2}skip {2}later: todo/)
  t.match(lines.join('\n'), /skip {2}the whole file: needs root/)
})

t.test('a file that cannot start, crashes, exits with an error or has no tests is one failure', async t => {
  const { code, lines } = await run(t, {
    crash: tap(`t.ok(1); process.kill(process.pid, 'SIGKILL')`),
    exit: `process.exit(3)`,
    empty: '',
    nothing: tap('t.end()'),
    syntax: 'const = 1',
    throws: tap(`throw new Error('at import')`),
    type: `enum NotErasable { A }`,
  })
  const all = lines.join('\n')
  t.equal(lines.at(-1), '1 passed, 7 failed')
  t.equal(code, 1)
  t.match(all, /crash\.test\.ts {2}killed by SIGKILL/)
  t.match(all, /empty\.test\.ts {2}the file has no tests/)
  t.match(all, /nothing\.test\.ts {2}the file has no tests/)
  t.match(all, /SyntaxError/, 'stderr is shown')
})

t.test('a failed assertion and a crash after it both count', async t => {
  const { lines } = await run(t, { one: tap(`t.ok(0, 'bad'); process.kill(process.pid, 'SIGKILL')`) })
  t.equal(lines.at(-1), '0 passed, 2 failed')
})

t.test('a file that times out is killed and is one failure', async t => {
  const { code, lines } = await run(
    t,
    {
      blocked: tap(`t.ok(1); while (true) {}`),
      waits: tap(`t.test('slow', async t => { setInterval(() => {}, 1000); await new Promise(() => {}) })`),
    },
    '--timeout=1',
  )
  t.equal(lines.at(-1), '1 passed, 2 failed')
  t.equal(code, 1)
  t.match(lines.join('\n'), /not ok {2}timed out after 1 s/)
  t.match(lines.join('\n'), /not ok {2}slow > timeout!/)
})

t.test('a subtest that times out is one failure', async t => {
  const { lines } = await run(t, {
    one: tap(`t.test('slow', { timeout: 50 }, async () => { await new Promise(r => setTimeout(r, 400)) })`),
  })
  t.equal(lines.at(-1), '0 passed, 1 failed')
})

t.test('a process left behind is killed and is a failure', async t => {
  const { lines } = await run(t, {
    one: tap(`import { spawn } from 'node:child_process'
      t.ok(1)
      spawn('sleep', ['60'], { stdio: 'inherit' }).unref()`),
  })
  t.equal(lines.at(-1), '1 passed, 1 failed')
  t.match(lines.join('\n'), /left a process behind/)
})

t.test('an option that is not a number is a usage error', async t => {
  const { code, lines } = await run(t, { one: tap('t.ok(1)') }, '--jobs=many')
  t.equal(code, 2)
  t.equal(lines.at(-1), '--jobs=many is not a positive number')
})

t.test('a pattern without a match is a usage error', async t => {
  const { code, lines } = await run(t, {})
  t.equal(code, 2)
  t.match(lines.at(-1), /no test file matches/)
})
