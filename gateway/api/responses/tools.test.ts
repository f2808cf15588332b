import { expect } from 'chai';
import { chatTool, customArguments, customInput, offeredTools, responseTool } from './tools.ts';

describe('tools of responses', () => {
  it('read the text of a call, and of one that is cut off anywhere what there is', () => {
    const text = 'a "quoted"\n\\path\u0001 é 😀';
    const json = customArguments(text);
    expect(customInput(json)).to.equal(text);
    for (let end = 0; end < json.length; end++) {
      const got = customInput(json.slice(0, end));
      expect(text.startsWith(got), `${JSON.stringify(got)} of ${json.slice(0, end)}`).to.equal(true);
    }
    expect(customInput(json.slice(0, -2))).to.equal(text);
    expect(customInput(`  { "input" : "a\\u00e9b`)).to.equal('aéb');
    expect(customInput(JSON.stringify({ input: 'x'.repeat(1 << 20) }).slice(0, -1))).to.have.length(1 << 20);
    for (const odd of ['', '[]', '{"other": 1}', '{"input": 5}', '{"input": "\n"'])
      expect(customInput(odd)).to.equal('');
  });

  it('become functions: of text one argument, kept to a regular expression, told of a grammar', () => {
    const custom = (format?: object) => {
      const [tool] = offeredTools([
        responseTool.parse({ type: 'custom', name: 'patch', description: 'Edits.', format }),
      ]);
      if (tool === undefined) throw new Error('it is not offered');
      return chatTool(tool).function;
    };
    expect(custom()).to.deep.include({ name: 'patch', description: 'Edits.', strict: false });
    const lark = { type: 'grammar', syntax: 'lark', definition: 'start: "x"' };
    expect(custom(lark).description).to.include('Edits.').and.include('start: "x"');
    const regex = custom({ type: 'grammar', syntax: 'regex', definition: 'a|b' });
    expect(regex.strict).to.equal(true);
    expect(regex.parameters).to.have.nested.property('properties.input.pattern', '^(?:a|b)$');
    expect(offeredTools([responseTool.parse({ type: 'web_search', external_web_access: false })])).to.deep.equal([]);
  });
});
