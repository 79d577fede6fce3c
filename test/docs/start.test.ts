/** docs/start.md is executed here, so that no reader is the first to try it. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { eventually } from '../support/eventually.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const bin = join(root, 'bin/starlane.js')
const page = await readFile(join(root, 'docs/start.md'), 'utf8')

t.test('docs/start.md, as a new user would follow it', async t => {
  const folder = t.testdir({})
  await writeFiles(folder)
  // The same configuration on addresses of its own, since other tests run beside this one.
  const [dns, admin] = ['127.0.0.1:25353', '127.0.0.1:29911']
  const file = join(folder, 'starlane.yaml')
  await writeFile(file, `${await readFile(file, 'utf8')}\ndns: { listen: "${dns}" }\nadmin: { listen: "${admin}" }\n`)
  // npx looks for the program of a command here first.
  await mkdir(join(folder, 'node_modules/.bin'), { recursive: true })
  await symlink(bin, join(folder, 'node_modules/.bin/starlane'))
  const env = { ...process.env, STARLANE_ADMIN: admin, NO_COLOR: '1' }
  const shell = (command: string) => run('sh', ['-c', command], folder, env)

  const [startBackend = ''] = commandsAfter('backend')
  const backend = spawn('sh', ['-c', `exec ${startBackend}`], {
    cwd: folder,
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  t.teardown(() => ended(backend))
  await eventually(() => fetch('http://127.2.0.21:8080/').then(response => assert.ok(response.ok)))

  const [validate = ''] = commandsAfter('run')
  t.match(await shell(validate), { code: 0 }, 'the files are valid')

  // Not through npx, so that the signal below reaches Starlane itself. In a folder that looks like a checkout.
  await symlink(process.execPath, join(folder, 'node_modules/.bin/node'))
  await symlink(join(root, 'bin'), join(folder, 'bin'))
  const [[program = '', ...words] = []] = commandsAfter('supervised').map(line => line.split(' '))
  const child = spawn(join(folder, program), words, {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => ended(child))
  let log = ''
  child.stdout?.on('data', text => {
    log += text
  })
  child.stderr?.on('data', text => {
    log += text
  })
  await eventually(() => assert.match(log, /"ready"/), 60_000)

  const [status = '', services = '', explain = '', named = '', exec = '', observe = ''] = commandsAfter('while it runs')
  const seen = await shell(status)
  t.match(seen, { code: 0, out: /cluster-2/ }, `status: ${seen.out}${seen.err}`)
  t.match(await shell(services), { code: 0, out: /127\.2\.0\.21:8080/ })
  t.match(await shell(explain), { code: 0, out: /127\.2\.0\.21:8080/ })
  t.match(await shell(named), { code: 0, out: / IN {2}A {6}127\.96\./ })
  const fetched = await shell(exec)
  if (fetched.err.includes('EXEC_NAMESPACE')) t.pass('the kernel of this machine allows no exec, and exec says so')
  else {
    t.match(fetched, { code: 0, out: 'hello from cluster-2\n' })
    t.match(await shell(observe), {
      code: 0,
      out: / -> default\/rebel-base -> cluster-2\/127\.2\.0\.21:8080 forwarded /,
    })
  }

  const page = await fetch(`http://${admin}/`)
  t.equal(page.status, 200)
  t.match(await fetch(`http://${admin}/metrics`).then(r => r.text()), /# TYPE starlane_/)

  child.kill('SIGTERM')
  t.equal(await new Promise(resolve => child.once('exit', resolve)), 0, 'it ends well')
})

t.test('its plugin loads', async t => {
  const folder = t.testdir({})
  await writeFiles(folder)
  const file = join(folder, 'starlane.yaml')
  await writeFile(file, `${await readFile(file, 'utf8')}\nplugins: [{ use: ./no-fridays.ts }]\n`)
  const { code, out, err } = await run(process.execPath, [bin, 'validate', '-c', 'starlane.yaml'], folder, process.env)
  t.equal(code, 0, err)
  t.match(out, /no-fridays/)
})

async function writeFiles(folder: string): Promise<void> {
  for (const [, name = '', content = ''] of page.matchAll(/<!-- file: (\S+) -->\n```\w+\n([\s\S]*?)```/g)) {
    await mkdir(join(folder, dirname(name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
}

/** The commands of the first block of shell behind a mark. */
function commandsAfter(mark: string): string[] {
  const block =
    /```sh\n([\s\S]*?)```/.exec(page.slice(page.indexOf(`<!-- tested: test/docs/start.test.ts ${mark} -->`)))?.[1] ?? ''
  return block.split('\n').filter(line => line !== '')
}

function run(
  program: string,
  args: string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
): Promise<{ code: number; out: string; err: string }> {
  return new Promise(resolve => {
    execFile(program, args, { cwd, env, timeout: 30_000 }, (error, out, err) => {
      const killed = error?.signal ? `\nended by ${error.signal}` : ''
      resolve({ code: error ? Number(error.code ?? 1) : 0, out, err: `${err}${killed}` })
    })
  })
}

function ended(child: ChildProcess): Promise<unknown> | undefined {
  if (child.exitCode !== null || child.signalCode !== null) return undefined
  const exited = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGKILL')
  return exited
}
