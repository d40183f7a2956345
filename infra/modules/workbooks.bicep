// Two workbooks: how the fleet does, and what it costs.
param prefix string
param location string
param tags object
param logsId string

var books = [
  {
    name: 'operations'
    title: 'Sensor forecast fleet: operations'
    content: loadTextContent('../../monitoring/workbooks/operations.json')
  }
  {
    name: 'cost'
    title: 'Sensor forecast fleet: cost'
    content: loadTextContent('../../monitoring/workbooks/cost.json')
  }
]

resource workbooks 'Microsoft.Insights/workbooks@2023-06-01' = [for book in books: {
  name: guid(resourceGroup().id, prefix, book.name)
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: '${book.title} (${prefix})'
    category: 'workbook'
    sourceId: logsId
    serializedData: book.content
    version: '1.0'
  }
}]
