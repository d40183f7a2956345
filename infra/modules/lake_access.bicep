// Who reads and who writes the production lake. Apart from the lake itself: the ETL's identity comes after it.
param accountName string
@description('Who reads the lake: {name, principal}.')
param readers array
@description('Who writes below some paths of it: {name, principal, paths}.')
param writers array
param etlPrincipal string
param deployPrincipal string
param backupPrincipal string

var roles = loadYamlContent('../rbac.yml').roles
var containerNames = [
  'lake'
  'landing'
  'code'
  'synapse'
  'state-backups'
]
// Whatever is no write is not touched by the condition; a write must lie below one of the paths.
var writing = '!(ActionMatches{\'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write\'}) AND !(ActionMatches{\'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action\'}) AND !(ActionMatches{\'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/move/action\'}) AND !(ActionMatches{\'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete\'})'
var path = '@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringLike'
var or = '\' OR ${path} \''

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: accountName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' existing = {
  parent: account
  name: 'default'
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = [for container in containerNames: {
  parent: blobs
  name: container
}]

resource readAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for reader in readers: {
  name: guid(account.id, 'lake', reader.name, 'Storage Blob Data Reader')
  scope: containers[0]
  properties: {
    principalId: reader.principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Reader'])
  }
}]

resource writeAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for writer in writers: {
  name: guid(account.id, 'lake', writer.name, 'Storage Blob Data Contributor')
  scope: containers[0]
  properties: {
    principalId: writer.principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
    conditionVersion: '2.0'
    condition: '((${writing}) OR (${path} \'${join(writer.paths, or)}\'))'
  }
}]

resource etlTable 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, 'lake', 'etl', 'Storage Blob Data Contributor')
  scope: containers[0]
  properties: {
    principalId: etlPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
  }
}

resource etlLanding 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, 'landing', 'etl', 'Storage Blob Data Reader')
  scope: containers[1]
  properties: {
    principalId: etlPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Reader'])
  }
}

resource etlCode 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, 'code', 'etl', 'Storage Blob Data Reader')
  scope: containers[2]
  properties: {
    principalId: etlPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Reader'])
  }
}

resource etlLogs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, 'synapse', 'etl', 'Storage Blob Data Contributor')
  scope: containers[3]
  properties: {
    principalId: etlPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
  }
}

resource deployedCode 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, 'code', 'deploy', 'Storage Blob Data Contributor')
  scope: containers[2]
  properties: {
    principalId: deployPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
  }
}

resource backups 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, 'state-backups', 'backup', 'Storage Blob Data Contributor')
  scope: containers[4]
  properties: {
    principalId: backupPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
  }
}
