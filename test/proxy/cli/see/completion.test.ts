/** Completion in the shells themselves, the manual page, and the version. */
import { spawnSync } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { openStage, runLine } from '../stage.ts'

const has = (program: string) => spawnSync(program, ['--version']).error === undefined

t.test('complete gives the words that may come next', async t => {
  const { run, admin } = await openStage(t)
  const words = async (...words: string[]) =>
    (await runLine(['complete', '--', ...words], { env: { STARLANE_ADMIN: admin } })).out.trim().split('\n')
  const commands = await words('')
  for (const name of ['run', 'status', 'services', 'observe', 'top', 'completion', 'man', 'version'])
    t.ok(commands.includes(name), name)
  t.notOk(commands.includes('complete'), 'what is for the scripts alone is not offered')
  t.same(await words('obs'), ['observe'])
  t.same(await words('top', 'cl'), ['clusters', 'clients'])
  t.same(await words('services', '-o', ''), ['wide', 'yaml', 'json', 'name'])
  t.same(await words('services', '--un'), ['--unhealthy'])
  t.same(await words('services', 'emp'), ['empire/deathstar'])
  t.same(await words('observe', '--service', 'jedi'), ['jedi/holocron'])
  t.ok((await words('mesh', '')).includes('doctor'))
  t.same(await words('mesh', 'init', '--clu'), ['--cluster'])
  t.match(await run('completion tcsh'), { code: 2, err: /bash, zsh, fish/ })
  const alone = await runLine(['complete', '--', 'services', ''], { env: { STARLANE_ADMIN: '127.0.0.1:1' } })
  t.match(alone, { code: 0, err: '' }, 'without a Starlane there is nothing to offer')
})

/** A folder with a program `starlane`. */
function installed(t: Test): string {
  const folder = t.testdir()
  writeFileSync(join(folder, 'starlane'), `#!/bin/sh\nexec ${process.execPath} ${resolve('bin/starlane.js')} "$@"\n`)
  chmodSync(join(folder, 'starlane'), 0o755)
  return folder
}

t.test('bash completes', { skip: !has('bash') && 'no bash' }, async t => {
  const path = `${installed(t)}:${process.env.PATH}`
  const script = `source <(starlane completion bash)
COMP_WORDS=(starlane services -o js); COMP_CWORD=3; _starlane; echo "\${COMPREPLY[@]}"
COMP_WORDS=(starlane ""); COMP_CWORD=1; _starlane; echo "\${#COMPREPLY[@]}"
complete -p starlane`
  const { stdout, stderr } = spawnSync('bash', ['-c', script], {
    encoding: 'utf8',
    env: { ...process.env, PATH: path },
  })
  t.equal(stderr, '')
  const [first, count, registered] = stdout.split('\n')
  t.equal(first, 'json')
  t.ok(Number(count) > 10)
  t.match(registered, /-F _starlane starlane/)
})

t.test('zsh and fish read their scripts', async t => {
  for (const [shell, args] of [
    ['zsh', ['-n']],
    ['fish', ['--no-execute']],
  ] as const) {
    if (!has(shell)) {
      t.comment(`no ${shell}: its script is not parsed`)
      continue
    }
    const { out } = await runLine(['completion', shell])
    const { status, stderr } = spawnSync(shell, [...args], { input: out, encoding: 'utf8' })
    t.equal(status, 0, stderr)
  }
})

t.test('the manual page has every command and option, and groff reads it', async t => {
  const { code, out } = await runLine(['man'])
  t.equal(code, 0)
  t.match(out, /^\.TH STARLANE 1/)
  for (const text of [
    'starlane observe [options]',
    'starlane mesh doctor',
    '\\-\\-verdict <verdict...>',
    'STARLANE_ADMIN',
  ]) {
    t.ok(out.replaceAll('\\(dq', '"').includes(text), text)
  }
  if (!has('groff')) return t.comment('no groff: the page is not formatted')
  const { stdout, stderr } = spawnSync('groff', ['-man', '-Tutf8', '-ww'], { input: out, encoding: 'utf8' })
  t.equal(stderr, '')
  t.match(stdout.split('\b').join(''), /E\w*X\w*I\w*T/)
})

t.test('version tells the program, Node and the platform', async t => {
  const version = process.versions.node
  t.match((await runLine(['version'])).out, new RegExp(`^starlane \\d+\\.\\d+\\.\\d+, Node ${version}, linux/`))
  t.match(JSON.parse((await runLine(['version', '-o', 'json'])).out), { starlane: /./, node: version })
})
