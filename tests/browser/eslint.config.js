// What the pages must not do, and what is a mistake as a rule. Names that do not exist, and types, are for tsc.

const AS_TEXT = 'Text goes in as text: textContent, or nodes made one by one.';

/** Properties and methods that turn a string into elements or code. */
const MARKUP = [
  'innerHTML', 'outerHTML', 'insertAdjacentHTML', 'setHTML', 'setHTMLUnsafe', 'srcdoc', 'createContextualFragment',
  'parseHTMLUnsafe',
];

export default [
  { ignores: ['**/node_modules/**', 'target/**'] },
  {
    files: ['**/*.js'],
    languageOptions: { ecmaVersion: 2022, sourceType: 'module' },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      'no-restricted-properties': [
        'error',
        ...MARKUP.map((property) => ({ property, message: AS_TEXT })),
        { object: 'document', property: 'write', message: AS_TEXT },
        { object: 'document', property: 'writeln', message: AS_TEXT },
      ],
      'no-restricted-syntax': [
        'error',
        { selector: `Property[key.name=/^(${MARKUP.join('|')})$/]`, message: AS_TEXT },
        { selector: `CallExpression[callee.property.name='setAttribute'] > Literal[value=/^(on|style$|srcdoc$)/]`,
          message: 'Handlers are set by addEventListener, styles by element.style.' },
      ],
      'no-restricted-globals': ['error', { name: 'DOMParser', message: AS_TEXT }, { name: 'event', message: 'Take it as a parameter.' }],
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-new-func': 'error',
      'no-script-url': 'error',
      'no-unused-vars': ['error', { ignoreRestSiblings: true }],
      'no-var': 'error',
      'prefer-const': 'error',
      eqeqeq: 'error',
      'no-use-before-define': ['error', { functions: false, classes: false, variables: false }],
      'no-unreachable': 'error',
      'no-fallthrough': 'error',
      'no-dupe-keys': 'error',
      'no-dupe-class-members': 'error',
      'no-duplicate-case': 'error',
      'no-self-assign': 'error',
      'no-self-compare': 'error',
      'no-constant-condition': ['error', { checkLoops: false }],
      'no-empty': ['error', { allowEmptyCatch: false }],
      'no-cond-assign': 'error',
      'no-async-promise-executor': 'error',
      'no-unsafe-finally': 'error',
      'no-loss-of-precision': 'error',
      'no-throw-literal': 'error',
      'array-callback-return': 'error',
      'require-await': 'error',
    },
  },
  { files: ['web/**/*.js'], rules: { 'no-console': 'error', 'no-alert': 'error', 'no-restricted-imports': ['error', { patterns: ['node:*'] }] } },
];
