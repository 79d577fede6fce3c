/** A release says what it lacks before it makes anything. */
import t from 'tap'
import { missingPrograms } from '../../scripts/release/needs.ts'

t.test('each missing program, once, with what installs it', async t => {
  t.same(
    missingPrograms(new Set(), () => false),
    [
      'zig: pip install ziglang, or give its command in the environment as ZIG',
      'dpkg-deb: apt-get install dpkg',
      'rpmbuild: apt-get install rpm',
      'buildah: apt-get install buildah',
      'npm: apt-get install npm',
    ],
  )
  t.same(
    missingPrograms(new Set(['image', 'rpm', 'deb', 'npm']), program => program === 'python3'),
    [],
    'what is left out is not asked for, and zig may be a module of Python',
  )
  t.same(
    missingPrograms(new Set(['rpm']), program => program !== 'buildah'),
    ['buildah: apt-get install buildah'],
  )
})
