/** The pages of reference are what the sources say. */
import { globSync, readFileSync } from 'node:fs'
import t from 'tap'
import { errorCodes } from '../../proxy/model/error.ts'
import { refusalCodes } from '../../proxy/model/refusal.ts'
import { labels, otherAnnotations, serviceAnnotations } from '../../proxy/model/text/annotations.ts'
import { definedCommands } from '../../scripts/reference/commands.ts'
import { references } from '../../scripts/reference.ts'

t.test('each page of reference is current: run "node scripts/reference.ts"', async t => {
  for (const [path, render] of Object.entries(references)) t.equal(readFileSync(path, 'utf8'), await render(), path)
})

t.test('the pages name every command, every code and every annotation', async t => {
  const cli = readFileSync('docs/cli.md', 'utf8')
  const program = await definedCommands()
  const help = program.createHelp()
  const paths = (command = program, before = ''): string[] => {
    const path = `${before}${command.name()}`
    const children = help.visibleCommands(command).filter(child => child.name() !== 'help')
    return [path, ...children.flatMap(child => paths(child, `${path} `))]
  }
  const [, ...all] = paths()
  t.ok(all.includes('starlane mesh certificates sign'), 'commands of commands are there')
  for (const path of all) t.match(cli, new RegExp(`^#+ ${path}$`, 'm'), path)
  const prose = cli.replace(/```[\s\S]*?```|`[^`]*`/g, '')
  t.notMatch(prose, /</, 'no placeholder that HTML would take for an element')

  const errors = readFileSync('docs/errors.md', 'utf8')
  for (const code of [...Object.keys(errorCodes), ...Object.keys(refusalCodes)]) t.match(errors, `| \`${code}\` |`)
})

t.test('an annotation or label of users that the sources read has its line', async t => {
  const page = readFileSync('docs/annotations.md', 'utf8')
  const known = [...Object.values(serviceAnnotations), ...otherAnnotations, ...labels]
  for (const { key } of known) t.match(page, `\`${key}\``, key)
  // What Starlane and Cilium write for themselves, which no user sets.
  const written = /^starlane\.dev\/(component|configuration|peer|digest)$|global-sync-endpoint-slices$/
  const used = new Set<string>()
  for (const file of globSync(['proxy/**/*.ts', 'plugins/**/*.ts']))
    for (const [, key = ''] of readFileSync(file, 'utf8').matchAll(
      /'((?:service\.cilium\.io|io\.cilium|clustermesh\.cilium\.io|starlane\.dev)\/[\w.-]+)'/g,
    ))
      used.add(key)
  t.ok(used.size > 10, 'keys were found')
  for (const key of used) if (!written.test(key)) t.match(page, `\`${key}\``, key)
})
