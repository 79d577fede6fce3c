// Writes the image of proxy/cli/kubernetes/image.ts into the overlays and the chart. test/deploy/image.test.ts fails when it is not there.
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { defaultImage, imageName } from '../proxy/cli/kubernetes/image.ts'

/** The text of each file with the image in it, by path from the root of the repository. */
export function filesWithImage(read = (path: string) => readFileSync(path, 'utf8')): Map<string, string> {
  const overlays = globSync('deploy/overlays/*/*.yaml').sort()
  return new Map([
    ...overlays.map(
      path => [path, read(path).replace(/^(\s+- name: starlane\n\s+image: ).*$/m, `$1${defaultImage}`)] as const,
    ),
    ['deploy/helm/values.yaml', read('deploy/helm/values.yaml').replace(/^( {2}repository: ).*$/m, `$1${imageName}`)],
  ])
}

if (import.meta.main) for (const [path, text] of filesWithImage()) writeFileSync(path, text)
