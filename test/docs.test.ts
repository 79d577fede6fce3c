/** What the README and the other pages show is executed here, so that no reader is the first to try it. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { errorCodes } from '../proxy/model/error.ts'
import { eventually } from './support/eventually.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const bin = join(root, 'bin/starlane.js')
const readme = await readFile(join(root, 'README.md'), 'utf8')

t.test('the README, as a new user would follow it', async t => {
  const folder = t.testdir({})
  await writeFiles(folder)
  // The same configuration on addresses of its own, since other tests run beside this one.
  const [dns, admin] = ['127.0.0.1:25353', '127.0.0.1:29911']
  const file = join(folder, 'starlane.yaml')
  await writeFile(file, `${await readFile(file, 'utf8')}\ndns: { listen: "${dns}" }\nadmin: { listen: "${admin}" }\n`)
  const env = { ...process.env, STARLANE_ADMIN: admin, NO_COLOR: '1' }
  const starlane = (line: string) =>
    run(
      line
        .replace(/ +#.*$/, '')
        .split(' ')
        .slice(2),
      folder,
      env,
    )

  const [validate = '', start = ''] = commandsAfter('<!-- run -->')
  t.match(await starlane(validate), { code: 0 }, 'the files are valid')

  await backend(t, '127.2.0.21')
  const child = spawn(process.execPath, [bin, ...start.split(' ').slice(2)], {
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
  await eventually(() => assert.match(log, /"ready"/), 15_000)

  const [status = '', services = '', explain = '', named = '', exec = ''] = commandsAfter('While it runs:')
  t.match(await starlane(status), { code: 0, out: /cluster-2/ })
  t.match(await starlane(services), { code: 0, out: /127\.2\.0\.21:8080/ })
  t.match(await starlane(explain), { code: 0, out: /127\.2\.0\.21:8080/ })
  t.match(await starlane(named), { code: 0, out: / IN {2}A {6}127\.96\./ })
  const fetched = await starlane(exec)
  if (fetched.code === 0) t.match(fetched.out, /hello from cluster-2/)
  else t.match(fetched.err, /starlane|namespace|permission/i, 'where the kernel allows no exec, it says so')

  const page = await fetch(`http://${admin}/`)
  t.equal(page.status, 200)
  t.match(await fetch(`http://${admin}/metrics`).then(r => r.text()), /# TYPE starlane_/)

  child.kill('SIGTERM')
  t.equal(await new Promise(resolve => child.once('exit', resolve)), 0, 'it ends well')
})

t.test('the plugin of the README loads', async t => {
  const folder = t.testdir({})
  await writeFiles(folder)
  const file = join(folder, 'starlane.yaml')
  await writeFile(file, `${await readFile(file, 'utf8')}\nplugins: [{ use: ./no-fridays.ts }]\n`)
  const { code, out, err } = await run(['validate', '-c', 'starlane.yaml'], folder, process.env)
  t.equal(code, 0, err)
  t.match(out, /no-fridays/)
})

t.test('every error code is in the table of docs/architecture.md, and no other', async t => {
  const page = await readFile(join(root, 'docs/architecture.md'), 'utf8')
  const table = Object.fromEntries(
    [...page.matchAll(/^\| `([A-Z_]+)` \| (.+) \|$/gm)].map(([, code, text]) => [code, text]),
  )
  t.same(table, errorCodes)
})

t.test('every dependency has its line', async t => {
  const page = await readFile(join(root, 'docs/architecture.md'), 'utf8')
  const {
    dependencies,
    devDependencies,
    optionalDependencies = {},
  } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const rows = [...page.matchAll(/^\| ([^|]+) \| [^|]* \| [^|]* \|$/gm)].map(([, names]) => names ?? '').join(', ')
  for (const name of Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies })) {
    if (name.startsWith('@types/')) continue
    t.ok(rows.split(/[ ,]+/).includes(name), name)
  }
})

t.test('links between pages lead somewhere', async t => {
  const pages = ['README.md', ...(await markdown('docs')), ...(await markdown('plugins')), ...(await markdown('bench'))]
  for (const page of pages) {
    const text = (await readFile(join(root, page), 'utf8')).replace(/```[\s\S]*?```/g, '')
    for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      await t.resolves(readFileOrFolder(join(root, dirname(page), target)), `${page}: ${target}`)
    }
  }
})

async function writeFiles(folder: string): Promise<void> {
  for (const [, name = '', content = ''] of readme.matchAll(/<!-- file: (\S+) -->\n```\w+\n([\s\S]*?)```/g)) {
    await mkdir(join(folder, dirname(name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
}

/** The commands of the first block of shell behind a mark. */
function commandsAfter(mark: string): string[] {
  const block = /```sh\n([\s\S]*?)```/.exec(readme.slice(readme.indexOf(mark)))?.[1] ?? ''
  return block.split('\n').filter(line => line !== '')
}

function run(args: string[], cwd: string, env: NodeJS.ProcessEnv): Promise<{ code: number; out: string; err: string }> {
  return new Promise(resolve => {
    execFile(process.execPath, [bin, ...args], { cwd, env, timeout: 30_000 }, (error, out, err) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, out, err })
    })
  })
}

async function backend(t: Test, ip: string): Promise<void> {
  const server = createServer((_request, response) => response.end('hello from cluster-2\n'))
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(8080, ip, resolve))
  t.teardown(() => server.close())
}

function ended(child: ChildProcess): Promise<unknown> | undefined {
  if (child.exitCode !== null || child.signalCode !== null) return undefined
  const exited = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGKILL')
  return exited
}

async function markdown(folder: string): Promise<string[]> {
  const names = await readdir(join(root, folder), { recursive: true }).catch(() => [])
  return names.filter(name => name.endsWith('.md')).map(name => join(folder, name))
}

async function readFileOrFolder(path: string): Promise<void> {
  await readFile(path).catch(error => {
    if (error.code !== 'EISDIR') throw error
  })
}
